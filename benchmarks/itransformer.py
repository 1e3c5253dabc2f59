"""iTransformer in published configurations: ours against its formulas taken literally, in turns.

The literal path (`tests/forecasting/literal_itransformer.py`, same weights) computes as the
official code does: three projections, all scores written out, the feed-forward block as
convolutions of width one between transpositions, torch's dropout. A training step is forward,
backward and Adam. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.itransformer
    python -m benchmarks.itransformer --quick      # the ETTh1 rows alone
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import RESULTS
from surform.bench.measure import alternating, peak_memory, save
from surform.forecasting.itransformer import ITransformer
from tests.forecasting.literal_itransformer import literal_forward

__all__ = ["main", "row"]

MARKS = 4
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {  # batch, variates, arguments
    "ETTh1, batch 32": (32, 7, {"dim": 256}),
    "ETTh1, batch 1": (1, 7, {"dim": 256}),
    "Electricity, batch 8": (8, 321, {"depth": 3}),
    "Electricity, batch 16": (16, 321, {"depth": 3}),
}
WIDE = {"evaluation_gain": 1.2, "training_gain": 1.2}
ACCEPTANCE = {"Electricity, batch 8": WIDE, "Electricity, batch 16": WIDE}


def row(name: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of ours and of the literal path, gains and memory of one configuration."""
    batch, variates, arguments = CASES[name]
    torch.manual_seed(0)
    net = ITransformer(**arguments)
    x, marks = torch.randn(batch, net.lookback, variates), torch.rand(batch, net.lookback, MARKS)
    target = torch.randn(batch, net.horizon, variates)
    paths = {
        "": lambda: net(x, past_marks=marks),
        "literal ": lambda: literal_forward(net, x, marks),
    }
    runs: dict[str, Callable[[], object]] = {}
    for label, path in paths.items():
        runs[f"{label}evaluation"] = _evaluation(net, path)
        runs[f"{label}training"] = _training(net, path, target)
    seconds = alternating(runs, repeats, clock=time.process_time)
    found: dict[str, Any] = {"name": name, "parameters": sum(p.numel() for p in net.parameters())}
    for kind in ("evaluation", "training"):
        ours, literal = seconds[kind], seconds[f"literal {kind}"]
        found |= {
            f"{kind}_ms": round(1e3 * ours, 2),
            f"literal_{kind}_ms": round(1e3 * literal, 2),
            f"{kind}_gain": round(literal / ours, 2),
        }
    for label, call in (("", "net(x, past_marks=m)"), ("literal_", "literal_forward(net, x, m)")):
        found[f"{label}training_mb"] = round(peak_memory(_program(name, call)))
    return found


def _evaluation(net: ITransformer, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(
    net: ITransformer, path: Callable[[], Tensor], target: Tensor
) -> Callable[[], object]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def run() -> None:
        net.train()
        optimizer.zero_grad()
        (path() - target).square().mean().backward()
        optimizer.step()

    return run


def _program(name: str, call: str) -> str:
    """Source of one training pass in a process of its own, after a small one."""
    batch, variates, arguments = CASES[name]
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from surform.forecasting.itransformer import ITransformer\n"
        "from tests.forecasting.literal_itransformer import literal_forward\n"
        f"net = ITransformer(**{arguments!r})\n"
        f"x, m = torch.randn({batch}, 96, {variates}), torch.rand({batch}, 96, {MARKS})\n"
        f"def run():\n    {call}.square().mean().backward()\n"
        "everything, (x, m) = (x, m), (x[:1, :, :5], m[:1])\n"
        "run()\n"
        "x, m = everything\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/itransformer.json."""
    parser = argparse.ArgumentParser(description="iTransformer: ours against the literal formulas")
    parser.add_argument("--quick", action="store_true", help="the ETTh1 rows alone")
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = [name for name in CASES if name.startswith("ETTh1") or not options.quick]
    found = [row(name, options.repeats) for name in names]
    table = Table(title="iTransformer, float32, one thread")
    for column in ("case", "eval ms", "gain", "training ms", "gain", "peak MB", "literal MB"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for one in found:
        table.add_row(
            one["name"],
            f"{one['evaluation_ms']:.1f}",
            f"{one['evaluation_gain']:.2f}x",
            f"{one['training_ms']:.1f}",
            f"{one['training_gain']:.2f}x",
            f"{one['training_mb']}",
            f"{one['literal_training_mb']}",
        )
    Console().print(table)
    if not options.quick:
        save(RESULTS / "itransformer.json", found, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
