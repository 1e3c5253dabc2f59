"""Energies and forces of copper through ASE: EquiformerV2 beside SevenNet-0, float32, one thread.

108 atoms, all neighbours within 5 Å, positions that change from call to call. SevenNet runs with
the weights that its package brings; ours are new ones, in about as many parameters, with forces
from a head and as the gradient of the energy. What is compared is the cost, not the error: times
of networks of different kinds and degrees say nothing about what they have learned. Processes take
turns, times are CPU seconds.

SevenNet (PyPI `sevenn`) is installed into an environment of its own below benchmarks/.

    python -m benchmarks.potentials
    python -m benchmarks.potentials --cells 2 --calls 2 --turns 1
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from benchmarks import RESULTS
from benchmarks.equiformer_v2 import LATTICE, show
from surform.bench.measure import save

__all__ = ["main", "network"]

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-sevennet"
SIZES: dict[str, Any] = {
    "dim": 32, "depth": 5, "lmax": 2, "mmax": 2, "heads": 4, "hidden": 32, "alphas": 16,
    "values": 8, "feed_forward": 64, "edge_channels": 32, "cutoff": 5.0, "max_neighbors": None,
    "grid_resolution": 10,
}  # fmt: skip
OURS: dict[str, dict[str, Any]] = {
    "EquiformerV2, forces from a head": {"forces": "direct"},
    "EquiformerV2, forces as a gradient": {"forces": "conservative", "envelope": 5},
}
WARMUP = 3  # calls in which programs are still made
PEER = "SevenNet-0, forces as a gradient"


def network(side: str) -> Any:
    """A potential with new weights."""
    from surform.atomistic.equiformer_v2 import EquiformerV2
    from surform.atomistic.potential import Potential

    torch.manual_seed(0)
    model = Potential(EquiformerV2(**SIZES, **OURS[side]))
    for normalizer in model.normalizers().values():
        normalizer.fit(torch.zeros(()), torch.ones(()))
    return model.eval()


def _ours(request: dict[str, Any]) -> dict[str, Any]:
    """As `sevennet_run.main`."""
    from surform.atomistic import Calculator

    torch.set_num_threads(1)
    model = network(request["side"])
    atoms: Any = read(request["structure"])
    atoms.calc = Calculator(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shake = np.random.default_rng(0)
    seconds = []
    for _ in range(request["calls"] + WARMUP):
        atoms.positions += shake.normal(0, 0.01, atoms.positions.shape)
        start = time.process_time()
        atoms.get_forces()
        seconds.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "cutoff": model.net.cutoff,
        "seconds": seconds[WARMUP:],
        "added_mb": (after - before) / 1024,
    }


def _program(side: str, request: dict[str, Any]) -> list[str]:
    if side != PEER:
        whole = json.dumps(request | {"side": side})
        return [sys.executable, "-m", "benchmarks.potentials", "--worker", whole]
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing SevenNet into {ENVIRONMENT}")
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "sevenn>=0.13"], check=True)
    return [str(python), str(HERE / "sevennet_run.py"), json.dumps(request)]


def _run(program: list[str]) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"{program[:3]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def rows(cells: int, calls: int, turns: int) -> list[dict[str, Any]]:
    """Milliseconds per atom and call, and memory, of each side."""
    copper: Atoms = bulk("Cu", "fcc", LATTICE, cubic=True) * (cells, cells, cells)
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copper.xyz"
        write(path, copper)
        request = {"structure": str(path), "calls": calls}
        for _ in range(turns):
            for side in (*OURS, PEER):
                found.setdefault(side, []).append(_run(_program(side, request)))
    return [
        {
            "potential": side,
            "parameters": runs[0]["parameters"],
            "cutoff": runs[0]["cutoff"],
            "atoms": len(copper),
            "ms_per_atom": round(_milliseconds(runs) / len(copper), 2),
            "added_mb": round(statistics.median(r["added_mb"] for r in runs)),
        }
        for side, runs in found.items()
    ]


def _milliseconds(runs: list[dict[str, Any]]) -> float:
    return 1e3 * statistics.median(each for run in runs for each in run["seconds"])


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write results/potentials.json."""
    parser = argparse.ArgumentParser(description="EquiformerV2 beside SevenNet through ASE")
    parser.add_argument("--cells", type=int, default=3, help="cubes of 4 atoms along each axis")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(_ours(json.loads(options.worker))))
        return
    measured = rows(options.cells, options.calls, options.turns)
    save(RESULTS / "potentials.json", measured)
    show("energy and forces through ASE, float32, one thread, CPU time", measured)


if __name__ == "__main__":
    main()
