"""EquiformerV2 at the published 31M size: ours against the operations of the official code.

54 atoms of a copper slab with methanol on it, 1080 edges (20 nearest within 12 Å), float32, one
thread. Forward passes take turns with the literal path in one process, in CPU seconds; memory is
measured in fresh processes, both without gradients, which the official code keeps all the same. The
literal path is `tests/atomistic/literal_equiformer_v2.py`, same weights, same frames. Then 2,048
atoms of copper through a small network, and the neighbours of copper crystals of growing size
within 6 Å, with vesin where it is installed, and without.

    python -m benchmarks.equiformer_v2
    python -m benchmarks.equiformer_v2 --repeats 9
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import RESULTS
from surform.atomistic.equiformer_v2 import EquiformerV2
from surform.bench.measure import alternating, gemm, peak_memory, save
from surform.data import atoms_vesin
from surform.data.atoms_neighbors import neighbor_list
from surform.hub.official.equiformer_v2 import SYSTEM
from tests.atomistic.literal_equiformer_v2 import Literal

__all__ = ["ACCEPTANCE", "large", "main", "neighbors", "row", "show"]

ACCEPTANCE = {"forward_gain": 1.8, "memory_share": 0.35, "neighbors_10000_s": 1.0}
LATTICE = 3.615  # of copper [Å]


def slab() -> tuple[Tensor, Tensor, Tensor]:
    """Positions, atomic numbers and cell: 48 copper atoms, three layers, and CH3OH above."""
    spacing = LATTICE / 2**0.5
    a, b = torch.tensor([spacing, 0.0, 0.0]), torch.tensor([spacing / 2, spacing * 0.75**0.5, 0.0])
    layers = torch.cartesian_prod(*(torch.arange(float(n)) for n in (3, 4, 4)))
    hollow = (a + b) / 3 + torch.tensor([0.0, 0.0, LATTICE / 3**0.5])
    metal = layers[:, :1] * hollow + layers[:, 1:2] * a + layers[:, 2:] * b
    molecule = torch.tensor(
        [
            [-0.05, 0.66, 0.0], [-0.05, -0.76, 0.0], [-1.09, 0.98, 0.0], [0.87, -1.06, 0.0],
            [0.44, 1.07, 0.89], [0.44, 1.07, -0.89],
        ]
    )  # fmt: skip
    top = metal[-1] + torch.tensor([0.0, 0.0, 3.0])
    positions = torch.cat((metal, molecule + top))
    numbers = torch.tensor([29] * 48 + [6, 8, 1, 1, 1, 1])
    return positions, numbers, torch.stack((4 * a, 4 * b, torch.tensor([0.0, 0.0, 25.0])))


def build() -> tuple[EquiformerV2, tuple[Tensor, ...]]:
    """The 31M network and the slab's graph."""
    torch.manual_seed(0)
    net = EquiformerV2(depth=8, lmax=4, mmax=2).eval()
    positions, numbers, cell = slab()
    found = neighbor_list(positions, net.cutoff, cell=cell, max_neighbors=net.max_neighbors)
    return net, (positions, numbers, found.edge_index, found.shifts)


def literal(net: EquiformerV2, graph: tuple[Tensor, ...]) -> Callable[[], object]:
    """The official operations with the same weights."""
    positions, numbers, edges, shifts = graph
    constructor = SYSTEM.describe(net) if SYSTEM.describe else None
    assert constructor is not None
    path = Literal(SYSTEM.to_official(net.state_dict(), constructor), constructor)
    vectors = positions[edges[0]] - positions[edges[1]] + shifts
    n = torch.nn.functional.normalize(vectors, dim=1)
    aside = torch.linalg.cross(n, torch.randn(n.shape))
    z = torch.nn.functional.normalize(aside, dim=1)
    frames = torch.stack((z, n, -torch.linalg.cross(n, z)), dim=1)
    batch = torch.zeros_like(numbers)
    return lambda: path(numbers, edges, vectors, frames, batch, 1)


def row(repeats: int) -> dict[str, Any]:
    """Seconds, gain and memory of a forward pass on one thread."""
    net, graph = build()
    runs = {"unit": gemm(), "ours": lambda: net(*graph), "literal": literal(net, graph)}
    with torch.no_grad():
        seconds = alternating(runs, repeats, clock=time.process_time)
    memory = {name: peak_memory(_program(name)) for name in ("ours", "literal")}
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "atoms": len(graph[0]),
        "edges": graph[2].shape[1],
        "forward_ms": round(1e3 * seconds["ours"]),
        "literal_forward_ms": round(1e3 * seconds["literal"]),
        "forward_gain": round(seconds["literal"] / seconds["ours"], 2),
        "forward_units": round(seconds["ours"] / seconds["unit"], 2),
        "forward_mb": round(memory["ours"]),
        "literal_forward_mb": round(memory["literal"]),
        "memory_share": round(memory["ours"] / memory["literal"], 3),
    }


def _program(name: str) -> str:
    """Source of one call in a process of its own; a small one first loads what loads only once."""
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from benchmarks.equiformer_v2 import build, literal\n"
        "net, graph = build()\n"
        f"call = literal(net, graph) if {name == 'literal'} else lambda: net(*graph)\n"
        "def run():\n    with torch.no_grad():\n        call()\n"
        "torch.randn(64, 64) @ torch.randn(64, 64)\n"
    )


LARGE: dict[str, dict[str, Any]] = {
    "direct": {"forces": "direct"},
    "conservative": {"forces": "conservative", "envelope": 5},
    "conservative, recompute": {"forces": "conservative", "envelope": 5, "recompute": True},
}


def crystal(cells: int) -> tuple[Tensor, Tensor]:
    """Positions and cell of cells^3 cubes of four atoms."""
    grid = torch.cartesian_prod(*[torch.arange(float(cells))] * 3)
    base = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    positions = (grid[:, None] + base).view(-1, 3).double() * LATTICE
    return positions, LATTICE * cells * torch.eye(3, dtype=torch.float64)


def build_large(forces: str, cells: int) -> Callable[[], object]:
    """Energy and forces of a shaken copper crystal from 2 layers of 32 channels, no gradients."""
    torch.manual_seed(0)
    net = EquiformerV2(
        dim=32, depth=2, lmax=3, mmax=2, heads=4, hidden=32, alphas=16, values=8, feed_forward=64,
        edge_channels=32, cutoff=5.0, max_neighbors=None, grid_resolution=14, **LARGE[forces],
    ).eval()  # fmt: skip
    positions, cell = crystal(cells)
    positions = positions + 0.02 * torch.randn_like(positions)
    numbers = torch.full((len(positions),), 29)

    def run() -> object:
        found = neighbor_list(positions, net.cutoff, cell=cell)
        with torch.no_grad():
            return net(positions.float(), numbers, found.edge_index, found.shifts.float())

    return run


def large(cells: int) -> list[dict[str, Any]]:
    """CPU seconds and peak memory of one call in a fresh process, neighbours included."""
    positions, cell = crystal(cells)
    edges = len(neighbor_list(positions, 5.0, cell=cell).distances)
    found = []
    for forces in LARGE:
        seconds, added = _first_call(forces, cells)
        found.append(
            {
                "forces": forces,
                "atoms": len(positions),
                "edges": edges,
                "seconds": round(seconds, 2),
                "ms_per_atom": round(1e3 * seconds / len(positions), 2),
                "added_mb": round(added),
            }
        )
    return found


def _first_call(forces: str, cells: int) -> tuple[float, float]:
    program = (
        "import time, torch; torch.set_num_threads(1)\n"
        "from benchmarks.equiformer_v2 import build_large\n"
        "from surform.bench.measure import added_memory\n"
        f"run = build_large({forces!r}, {cells})\n"
        "torch.randn(64, 64) @ torch.randn(64, 64)\n"
        "start = time.process_time(); added = added_memory(run)\n"
        "print(time.process_time() - start, added)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"the measurement failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, added = done.stdout.split()[-2:]
    return float(seconds), float(added)


def neighbors(cells: int, repeats: int) -> dict[str, Any]:
    """CPU seconds of the neighbours within 6 Å in a crystal of cells^3 cubes of four atoms."""
    positions, cell = crystal(cells)
    times = {name: _searched(name, positions, cell, repeats) for name in ("vesin", "bins")}
    seconds = min(each for each in times.values() if each is not None)
    return {
        "atoms": len(positions),
        "edges": len(neighbor_list(positions, 6.0, cell=cell).distances),
        "seconds": seconds,
        "microseconds_per_atom": round(1e6 * seconds / len(positions), 1),
        "seconds_without_vesin": times["bins"],
    }


def _searched(name: str, positions: Tensor, cell: Tensor, repeats: int) -> float | None:
    """CPU seconds with vesin or without; None: it is not installed."""
    installed = atoms_vesin.is_there
    if name == "vesin" and not installed(positions):
        return None
    try:
        if name == "bins":
            atoms_vesin.is_there = lambda positions: False
        runs: dict[str, Callable[[], object]] = {}
        runs[name] = lambda: neighbor_list(positions, 6.0, cell=cell)
        return float(f"{alternating(runs, repeats, clock=time.process_time)[name]:.3g}")
    finally:
        atoms_vesin.is_there = installed


def main(arguments: list[str] | None = None) -> None:
    """Measure, print three tables, write results/equiformer_v2*.json."""
    parser = argparse.ArgumentParser(description="EquiformerV2: ours against the literal path")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cells", nargs="+", type=int, default=[1, 3, 6, 14, 20])
    parser.add_argument("--only", choices=["forward", "large", "neighbors"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name, measure in (("neighbors", _neighbors), ("forward", _forward), ("large", _large)):
        if options.only in (None, name):
            measure(options)


def _neighbors(options: argparse.Namespace) -> None:
    lists = [neighbors(cells, options.repeats) for cells in options.cells]
    save(RESULTS / "equiformer_v2-neighbors.json", lists, acceptance=ACCEPTANCE)
    show("neighbours within 6 Å, one thread, CPU time", lists)


def _forward(options: argparse.Namespace) -> None:
    found = row(options.repeats)
    save(RESULTS / "equiformer_v2.json", [found], acceptance=ACCEPTANCE)
    show("forward pass, float32, one thread, CPU time", [found])


def _large(options: argparse.Namespace) -> None:
    del options
    found = large(8)
    save(RESULTS / "equiformer_v2-large.json", found)
    show("2,048 atoms, float32, one thread, CPU time", found)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for found in rows:
        table.add_row(*(str(value) for value in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
