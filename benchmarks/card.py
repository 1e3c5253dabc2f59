"""CARD in published configurations: ours against its formulas taken literally, in turns.

The literal path (`tests/forecasting/literal_card.py`, same weights) computes as the official code
does: einsum, torch's softmax and dropout, batch norms between transpositions. A training step is
forward, backward and Adam. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.card
    python -m benchmarks.card --quick      # the ETTh1 row alone
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
from surform.forecasting.card import Card
from surform.training.losses import SignalDecay
from surform.training.prediction import Prediction
from tests.forecasting.literal_card import literal_forward

__all__ = ["main", "row"]

WIDE = {"dim": 128, "heads": 16, "dropout": 0.2}
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {  # batch, variates, arguments
    "ETTh1, batch 128": (128, 7, {}),
    "ETTh1, batch 1": (1, 7, {}),
    "ETTh1, look-back 720, batch 32": (32, 7, {"lookback": 720}),
    "Weather, batch 32": (32, 21, WIDE),
}
ACCEPTANCE = {"ETTh1, batch 128": {"evaluation_gain": 1.8, "training_gain": 1.3}}


def row(name: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of ours and of the literal path, gains and memory of one configuration."""
    batch, variates, arguments = CASES[name]
    torch.manual_seed(0)
    net = Card(**arguments)
    x = torch.randn(batch, net.lookback, variates)
    target = torch.randn(batch, net.horizon, variates)
    paths = {"": lambda: net(x), "literal ": lambda: literal_forward(net, x)}
    runs: dict[str, Callable[[], object]] = {}
    for label, path in paths.items():
        runs[f"{label}evaluation"] = _evaluation(net, path)
        runs[f"{label}training"] = _training(net, path, target)
    seconds = alternating(runs, repeats, warmup=2, clock=time.process_time)
    found: dict[str, Any] = {"name": name, "parameters": sum(p.numel() for p in net.parameters())}
    for kind in ("evaluation", "training"):
        ours, literal = seconds[kind], seconds[f"literal {kind}"]
        found |= {
            f"{kind}_ms": round(1e3 * ours, 2),
            f"literal_{kind}_ms": round(1e3 * literal, 2),
            f"{kind}_gain": round(literal / ours, 2),
        }
    for label, call in (("", "net(x)"), ("literal_", "literal_forward(net, x)")):
        found[f"{label}training_mb"] = round(peak_memory(_program(name, call)))
    return found


def _evaluation(net: Card, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(net: Card, path: Callable[[], Tensor], target: Tensor) -> Callable[[], object]:
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=1e-4), SignalDecay()

    def run() -> None:
        net.train()
        optimizer.zero_grad()
        loss(Prediction(path(), target)).backward()
        optimizer.step()

    return run


def _program(name: str, call: str) -> str:
    """Source of one training pass in a process of its own, after a small one."""
    batch, variates, arguments = CASES[name]
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from surform.forecasting.card import Card\n"
        "from tests.forecasting.literal_card import literal_forward\n"
        f"net = Card(**{arguments!r})\n"
        f"def run():\n    {call}.square().mean().backward()\n"
        f"x = torch.randn(2, net.lookback, {variates})\nrun()\n"
        f"x = torch.randn({batch}, net.lookback, {variates})\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/card.json."""
    parser = argparse.ArgumentParser(description="CARD: ours against the literal formulas")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the ETTh1 row alone, not written")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = list(CASES)[:1] if options.quick else list(CASES)
    rows = [row(name, options.repeats) for name in names]
    table = Table("", "evaluation ms (literal)", "gain", "training step ms (literal)", "gain")
    table.add_column("training MB (literal)")
    table.title = "CARD, float32, one thread, CPU time"
    for found in rows:
        cells = [found["name"]]
        for kind in ("evaluation", "training"):
            times = f"{found[f'{kind}_ms']:.1f} ({found[f'literal_{kind}_ms']:.1f})"
            cells += [times, f"{found[f'{kind}_gain']:.2f}x"]
        table.add_row(*cells, f"{found['training_mb']} ({found['literal_training_mb']})")
    Console(width=140).print(table)
    if not options.quick:
        save(RESULTS / "card.json", rows, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
