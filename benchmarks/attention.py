"""Time and memory of the attention kinds: `python -m benchmarks.attention`.

Linear attention grows from 1e4 to 1e6 points (8 heads of 64): time per point and the memory beside
inputs and result should stay the same.  The other kinds are compared with their literal reference,
both alternating in one run.  Prints one table and writes benchmarks/results/attention.json.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, is chatty

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.attention.dispatch import Sizes, example, explain
from surform.attention.timing import Timing, heads_inside, time_kernels
from surform.bench.measure import save

LINEAR = [10**4, 10**5, 10**6]
CASES: list[tuple[str, Sizes]] = [
    ("softmax", Sizes(tokens=2048)),
    ("softmax", Sizes(batch=896, heads=2, tokens=12, width=8)),
    ("fourier", Sizes(tokens=2048, heads=1, width=96)),
    ("linear", Sizes(batch=2, tokens=8192)),
    ("normalized_linear", Sizes(batch=2, tokens=8192, heads=4, width=32)),
    ("axial", Sizes(grid=(128, 128))),
    ("axial", Sizes(grid=(32, 32, 32))),
]


def cost(taken: Timing) -> float:
    """Milliseconds by the clock on a GPU; of processor time on a CPU, so that other programs on
    the machine do not count."""
    return taken.milliseconds if torch.cuda.is_available() else taken.cpu_milliseconds


def measure(kind: str, sizes: Sizes, backward: bool, repeats: int) -> list[dict[str, Any]]:
    """One row per kernel worth comparing: the chosen one and the reference."""
    args, kwargs = example(kind, sizes, heads_inside)
    chosen = explain(kind, *args, **kwargs).chosen
    keep = {chosen, "reference"}
    times = time_kernels(kind, args, kwargs, backward=backward, repeats=repeats, only=keep)
    shape = "x".join(map(str, args[0].shape))
    return [
        {
            "kind": kind,
            "shape": shape,
            "kernel": name,
            "pass": "forward+backward" if backward else "forward",
            "milliseconds": cost(taken),
            "vs_reference": cost(times["reference"]) / cost(taken),
            "extra_bytes": taken.extra_bytes,
        }
        for name, taken in times.items()
    ]


def growth(repeats: int) -> list[dict[str, Any]]:
    """Linear attention at growing numbers of points, forward, without the reference."""
    rows = []
    for points in LINEAR:
        args, kwargs = example("linear", Sizes(tokens=points), heads_inside)
        chosen = explain("linear", *args, **kwargs).chosen
        taken = time_kernels("linear", args, kwargs, repeats=repeats, only={chosen})[chosen]
        rows.append(
            {
                "kind": "linear",
                "shape": f"1x8x{points}x64",
                "kernel": chosen,
                "pass": "forward",
                "milliseconds": cost(taken),
                "microseconds_per_point": 1e3 * cost(taken) / points,
                "extra_bytes": taken.extra_bytes,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    table = Table(
        "kind", "shape of q or v", "kernel", "pass", "ms", "vs reference", "µs/point", "extra MB"
    )
    for row in rows:
        ratio, point = row.get("vs_reference"), row.get("microseconds_per_point")
        table.add_row(
            *(row[name] for name in ("kind", "shape", "kernel", "pass")),
            f"{row['milliseconds']:.4g}",
            "" if ratio is None else f"{ratio:.2f}x",
            "" if point is None else f"{point:.3f}",
            "" if row["extra_bytes"] is None else f"{row['extra_bytes'] / 2**20:.2f}",
        )
    Console(width=130).print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "attention.json")
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = growth(args.repeats)
    for kind, sizes in CASES:
        for backward in (False, True):
            rows += measure(kind, sizes, backward, args.repeats)
    show(rows)
    save(args.out, rows)


if __name__ == "__main__":
    main()
