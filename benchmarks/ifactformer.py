"""IFactFormer in the published channel configuration: ours against its formulas taken literally.

One sample of 32 x 33 x 16 points, 10 iterations, float32, one thread, same weights. Ours, with each
setting of `recompute`, the literal path and one 2048^3 float32 matrix product (the unit of cost)
take turns in one process, in CPU seconds; memory is measured in fresh processes. The literal path
is `tests/operators/literal_ifactformer.py`.

    python -m benchmarks.ifactformer
    python -m benchmarks.ifactformer --repeats 9 --cases modified-head
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import RESULTS
from surform.bench.measure import alternating, gemm, peak_memory, save
from surform.operators.ifactformer import IFactFormer
from tests.operators.literal_ifactformer import literal_forward

__all__ = ["CASES", "main", "rows"]

GRID, LENGTHS = (32, 33, 16), (12.566, 2.0, 4.189)
FEW, MANY = 2, 10  # iterations
CHECKPOINTS = ("none", "values", "iterations")
ACCEPTANCE = {"forward_gain": 1.4, "training_memory_ratio": 0.4}
CASES: dict[str, dict[str, Any]] = {
    "modified-head": {"mixing": "parallel", "release": "head"},
    "modified-first": {"mixing": "parallel", "release": "first"},
    "original-head": {"mixing": "chained", "release": "head"},
}


def rows(case: str, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for the forward pass, and one per setting of `recompute` for a training step."""
    nets = {name: _build(case, recompute=name) for name in CHECKPOINTS}
    (u, x), literal = _example(), nets["none"]
    runs: dict[str, Callable[[], object]] = {"unit": gemm()}
    runs["forward"] = _quiet(nets["values"], lambda: nets["values"](u, x))
    runs["literal forward"] = _quiet(literal, lambda: literal_forward(literal, u, x))
    for name, net in nets.items():
        runs[name] = _training(net, lambda net=net: net(u, x))
    runs["literal"] = _training(literal, lambda: literal_forward(literal, u, x))
    seconds = alternating(runs, repeats, clock=time.process_time)
    literal_mb = _memory(case, "literal")
    yield {
        "case": case,
        "pass": "forward",
        "recompute": "",
        **_times(seconds, "forward", "literal forward"),
        **_sizes(_memory(case, "none", training=False), _memory(case, "literal", training=False)),
    }
    for name in CHECKPOINTS:
        peak = _memory(case, name)
        growth = (peak - _memory(case, name, iterations=FEW)) / (MANY - FEW)
        yield {
            "case": case,
            "pass": "forward+backward",
            "recompute": name,
            **_times(seconds, name, "literal"),
            **_sizes(peak, literal_mb),
            "mb_per_iteration": round(growth, 1),
        }


def _times(seconds: dict[str, float], ours: str, literal: str) -> dict[str, float]:
    return {
        "ms": round(1e3 * seconds[ours], 1),
        "literal_ms": round(1e3 * seconds[literal], 1),
        "gain": round(seconds[literal] / seconds[ours], 2),
        "units": round(seconds[ours] / seconds["unit"], 2),
    }


def _sizes(ours: float, literal: float) -> dict[str, float]:
    return {
        "mb": round(ours),
        "literal_mb": round(literal),
        "memory_ratio": round(ours / literal, 3),
    }


def _build(case: str, **options: Any) -> IFactFormer:
    torch.manual_seed(0)
    return IFactFormer(**CASES[case], iterations=MANY, **options)


def _example() -> tuple[Tensor, list[Tensor]]:
    x = [torch.linspace(0, length, n) for n, length in zip(GRID, LENGTHS, strict=True)]
    return torch.randn(1, 1, *GRID, 3), x


def _quiet(net: IFactFormer, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.no_grad():
            return path()

    return run


def _training(net: IFactFormer, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> None:
        net.train().zero_grad()
        path().square().mean().backward()

    return run


def _memory(case: str, path: str, training: bool = True, iterations: int = MANY) -> float:
    """Peak MB of one call in a process of its own; a small one first loads what loads only once."""
    literal = path == "literal"
    options = CASES[case] | {"iterations": iterations, "recompute": "none" if literal else path}
    call = "literal_forward(net, u, x)" if literal else "net(u, x)"
    body = f"    {call}.square().mean().backward()\n"
    if not training:
        body = f"    with torch.no_grad():\n        {call}\n"
    return peak_memory(
        "import torch; torch.set_num_threads(1)\n"
        "from surform.operators.ifactformer import IFactFormer\n"
        "from tests.operators.literal_ifactformer import literal_forward\n"
        f"net = IFactFormer(**{options!r})\n"
        f"def run():\n{body}"
        "u, x = torch.randn(1, 1, 4, 4, 4, 3), [torch.linspace(0, 1, 4)] * 3\n"
        "run()\n"
        f"u = torch.randn(1, 1, *{GRID}, 3)\n"
        f"x = [torch.linspace(0, s, n) for n, s in zip({GRID}, {LENGTHS})]\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/ifactformer.json."""
    parser = argparse.ArgumentParser(description="IFactFormer: ours against the literal formulas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = [row for case in options.cases for row in rows(case, options.repeats)]
    table = Table(title="IFactFormer, channel configuration, B=1, 32 x 33 x 16, one thread")
    columns = list(dict.fromkeys(key for row in found for key in row))
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in found:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console(width=140).print(table)
    save(RESULTS / "ifactformer.json", found, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
