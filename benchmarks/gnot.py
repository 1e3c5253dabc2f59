"""GNOT and CGPTNO at a published size: ours against the operations of the official code.

One sample of 8000 points, two input functions of 1000 points, 12 parameters, 128 channels, 3
layers, 3 experts, float32. An evaluation and a training step (forward and backward) take turns with
the literal path in one process, in CPU seconds of one thread, each turn with other points, as the
gates of a known mesh are remembered: their gain is shown beside. Memory is measured in fresh
processes. The literal path is `tests/operators/literal_gnot.py`, same weights. Then evaluations of
growing numbers of points on one thread, each in a process of its own.

    python -m benchmarks.gnot
    python -m benchmarks.gnot --repeats 9 --points 10000
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import alternating, gemm, peak_memory, save
from surform.operators.gnot import CGPTNO, GNOT
from tests.operators.literal_gnot import literal_forward

__all__ = ["ACCEPTANCE", "main", "row", "scaling"]

SIZES: dict[str, Any] = {
    "in_channels": 2, "out_channels": 3, "parameters": 12, "input_channels": (3, 3),
    "dim": 128, "depth": 3, "mlp_depth": 3,
}  # fmt: skip
MODELS: dict[str, Callable[..., Any]] = {"gnot": GNOT, "cgptno": CGPTNO}
POINTS, KEYS = 8000, 1000
ACCEPTANCE = {"gigabytes_100000": 4.0, "gigabytes_1000000": 8.0}  # resident, all of the process


def build(name: str, points: int, **options: Any) -> tuple[Any, tuple[Any, ...]]:
    """The network and one random sample."""
    torch.manual_seed(0)
    net = MODELS[name](**SIZES, **options)
    functions = [torch.randn(1, KEYS, channels) for channels in SIZES["input_channels"]]
    return net, (torch.randn(1, points, 2), torch.randn(1, SIZES["parameters"]), functions)


def row(name: str, repeats: int) -> dict[str, Any]:
    """Seconds, gains and memory of one model on one thread."""
    net, call = build(name, POINTS)
    points, *rest = call
    paths = {
        "": lambda: net(points.add_(1e-6), *rest),
        "literal ": lambda: literal_forward(net, points, *rest),
    }
    runs: dict[str, Callable[[], object]] = {"unit": gemm()}
    for label, path in paths.items():
        runs[f"{label}forward"] = _evaluation(net, path)
        runs[f"{label}training"] = _training(net, path)
    twin, mesh = copy.deepcopy(net), points.clone()
    runs["known"] = _evaluation(twin, lambda: twin(mesh, *rest))
    small = build(name, POINTS, recompute=True)[0]
    runs["recomputing"] = _training(small, lambda: small(points, *rest))
    seconds = alternating(runs, repeats, clock=time.process_time)
    found: dict[str, Any] = {
        "model": name,
        "parameters": sum(p.numel() for p in net.parameters()),
        "forward_on_the_same_mesh_ms": round(1e3 * seconds["known"], 1),
        "recomputing_training_ms": round(1e3 * seconds["recomputing"], 1),
        "recomputing_training_mb": round(peak_memory(_program(name, "training", recompute=True))),
    }
    for kind in ("forward", "training"):
        memory = [peak_memory(_program(name, kind, literal=one)) for one in (False, True)]
        found |= {
            f"{kind}_ms": round(1e3 * seconds[kind], 1),
            f"literal_{kind}_ms": round(1e3 * seconds[f"literal {kind}"], 1),
            f"{kind}_gain": round(seconds[f"literal {kind}"] / seconds[kind], 2),
            f"{kind}_units": round(seconds[kind] / seconds["unit"], 2),
            f"{kind}_mb": round(memory[0]),
            f"literal_{kind}_mb": round(memory[1]),
        }
    return found


def _evaluation(net: Any, path: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        net.eval()
        with torch.no_grad():
            path()

    return run


def _training(net: Any, path: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        net.train().zero_grad()
        path().square().mean().backward()

    return run


def _program(name: str, kind: str, *, literal: bool = False, recompute: bool = False) -> str:
    """Source of one call in a process of its own; a small one first loads what loads only once."""
    call = "literal_forward(net, *call)" if literal else "net(*call)"
    if kind == "training":
        body = f"    {call}.square().mean().backward()\n"
    else:
        body = f"    with torch.no_grad():\n        {call}\n"
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from benchmarks.gnot import build, literal_forward\n"
        f"def run():\n{body}"
        f"net, call = build({name!r}, 50, recompute={recompute})\n"
        "run()\n"
        f"net, call = build({name!r}, {POINTS}, recompute={recompute})\n"
    )


def scaling(name: str, points: int) -> dict[str, Any]:
    """CPU seconds and memory of one evaluation on one thread, in a process of its own."""
    program = (
        "import re, time, torch; torch.set_num_threads(1)\n"
        "from benchmarks.gnot import build\n"
        f"net, call = build({name!r}, {points})\n"
        "with torch.no_grad():\n"
        f"    build({name!r}, 2000)[0].eval()(*build({name!r}, 2000)[1])\n"
        "    start = time.process_time()\n"
        "    y = net.eval()(*call)\n"
        "    print(time.process_time() - start, bool(y.isfinite().all()), end=' ')\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{points} points failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, finite, kilobytes = done.stdout.split()
    if finite != "True":
        raise ValueError(f"{name} gave numbers that are not finite for {points} points")
    return {
        "model": name,
        "points": points,
        "seconds": round(float(seconds), 3),
        "microseconds_per_point": round(1e6 * float(seconds) / points, 2),
        "resident_gb": round(int(kilobytes) * 1024 / 1e9, 2),
        "allowed_gb": ACCEPTANCE.get(f"gigabytes_{points}"),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print two tables, write results/gnot.json and results/gnot-points.json."""
    parser = argparse.ArgumentParser(description="GNOT: ours against the literal operations")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--points", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row(name, options.repeats) for name in options.models]
    save(RESULTS / "gnot.json", rows)
    large = [scaling(name, n) for name in options.models for n in options.points]
    save(RESULTS / "gnot-points.json", large)
    _show(rows, large)


def _show(rows: list[dict[str, Any]], large: list[dict[str, Any]]) -> None:
    table = Table(title=f"{POINTS} points, one thread, CPU time")
    for heading in ("", "ms", "literal ms", "gain", "GEMM units", "MB (literal)"):
        table.add_column(heading, justify="right")
    for found in rows:
        for kind in ("forward", "training"):
            table.add_row(
                f"{found['model']} {kind}",
                f"{found[f'{kind}_ms']:.0f}",
                f"{found[f'literal_{kind}_ms']:.0f}",
                f"{found[f'{kind}_gain']:.2f}x",
                f"{found[f'{kind}_units']:.2f}",
                f"{found[f'{kind}_mb']} ({found[f'literal_{kind}_mb']})",
            )
    Console().print(table)
    table = Table(title="evaluation, one thread, CPU time")
    for heading in ("", "points", "s", "µs per point", "GB resident", "allowed"):
        table.add_column(heading, justify="right")
    for found in large:
        table.add_row(*("" if value is None else str(value) for value in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
