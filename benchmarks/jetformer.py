"""JetFormer: ours and the formulas taken literally, same weights, one thread, in turns.

The literal path (`tests/particles/literal_jetformer.py`) writes out every score and norm and
computes every token of the last block. Times are CPU times, medians over the turns.

    python -m benchmarks.jetformer
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
from surform.bench.measure import alternating, save
from surform.particles.jetformer import JetFormer
from tests.particles.literal_jetformer import literal_forward

__all__ = ["main", "row"]

CASES: dict[str, tuple[int, int, dict[str, int]]] = {  # name: particles, jets, network
    "8 particles, 8 wide": (8, 256, {"in_channels": 3, "dim": 8, "depth": 4}),
    "30 particles, 64 wide": (30, 256, {"in_channels": 16, "dim": 64, "depth": 3}),
    "150 particles, 64 wide": (150, 64, {"in_channels": 16, "dim": 64, "depth": 3}),
}
GAINS = {"150 particles, 64 wide": {"evaluation_gain": 1.6, "training_gain": 1.6}}


def row(name: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of evaluation and of forward with backward, ours and literal."""
    torch.manual_seed(0)
    count, batch, given = CASES[name]
    net, x = JetFormer(**given), torch.randn(batch, count, given["in_channels"])
    seconds = alternating(
        {
            "evaluation": _evaluation(net, lambda: net(x)),
            "literal evaluation": _evaluation(net, lambda: literal_forward(net, x)),
            "training": _training(net, lambda: net(x)),
            "literal training": _training(net, lambda: literal_forward(net, x)),
        },
        repeats,
        clock=time.process_time,
    )
    found: dict[str, Any] = {"case": name, "batch": batch}
    found["parameters"] = sum(p.numel() for p in net.parameters())
    for kind in ("evaluation", "training"):
        ours, literal = seconds[kind], seconds[f"literal {kind}"]
        found |= {f"{kind}_ms": round(1e3 * ours, 1), f"literal_{kind}_ms": round(1e3 * literal, 1)}
        found[f"{kind}_gain"] = round(literal / ours, 2)
    return found


def _evaluation(net: JetFormer, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(net: JetFormer, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> None:
        net.train()
        net.zero_grad()
        path().square().mean().backward()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/jetformer.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = [row(name, options.repeats) for name in CASES]
    table = Table(*(key.replace("_", " ") for key in found[0]), title="JetFormer, one thread")
    for one in found:
        table.add_row(*map(str, one.values()))
    Console(width=150).print(table)
    save(RESULTS / "jetformer.json", found, acceptance=GAINS)


if __name__ == "__main__":
    main()
