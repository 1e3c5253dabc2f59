"""SAMformer against its formulas written out, and SAM's own work against a loop, in turns.

The literal network writes out values of the look-back's length and RevIN before every map, as the
official code does. The literal SAM walks over the parameters one by one and restores the weights
by subtraction, likewise; both get the same gradients, so the rows hold SAM's own work alone: for
ours that includes drawing the same random numbers twice. Times are CPU times of one thread.

    python -m benchmarks.samformer            # published sizes
    python -m benchmarks.samformer --quick    # one row of each
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import SGD

from benchmarks import RESULTS
from surform.bench.measure import alternating, gemm, save
from surform.forecasting.samformer import SAMformer
from surform.registry import create_model
from surform.training.sharpness import SharpnessAware
from tests.forecasting.literal_samformer import literal_forward

__all__ = ["main"]

SHAPES = (  # batch, look-back, variates, horizon
    (32, 512, 7, 96),
    (256, 512, 7, 96),
    (32, 512, 7, 720),
    (32, 512, 321, 96),
    (32, 512, 321, 336),
    (32, 512, 321, 720),
)
OFTEN = 20
NETWORKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("SAMformer, ETTh1", "samformer", {"variates": 7}),
    ("Galerkin Transformer, Burgers", "galerkin1d", {}),
    ("FactFormer, Kolmogorov", "factformer2d", {}),
)


def model_row(shape: tuple[int, int, int, int], repeats: int) -> dict[str, Any]:
    """Milliseconds of a forecast and of a training pass, ours and literal."""
    batch, lookback, variates, horizon = shape
    torch.manual_seed(0)
    net, x = SAMformer(lookback, horizon, variates), torch.randn(batch, lookback, variates)
    ours, literal = _passes(net, net, x), _passes(net, lambda x: literal_forward(net, x), x)
    seconds = alternating(
        {
            "unit": gemm(),
            "forward": ours[0],
            "literal forward": literal[0],
            "training": ours[1],
            "literal training": literal[1],
        },
        repeats,
        clock=time.process_time,
    )
    return _row("B{} L{} N{} H{}".format(*shape), seconds, ("forward", "training"))


def _passes(
    net: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    def forward() -> object:
        with torch.no_grad():
            return function(x)

    def training() -> None:
        net.zero_grad()
        function(x).square().mean().backward()

    return forward, training


def sam_row(
    title: str, name: str, arguments: dict[str, Any], adaptive: bool, repeats: int
) -> dict[str, Any]:
    """Milliseconds of a step whose evaluations cost nothing, ours and one by one."""
    torch.manual_seed(0)
    weights = [p for p in create_model(name, **arguments).parameters() if p.requires_grad]
    given = [torch.randn_like(p) for p in weights]
    optimizer = SharpnessAware(weights, lambda p: SGD(p, lr=0.0), 0.5, adaptive)

    def gradients() -> None:
        for weight, gradient in zip(weights, given, strict=True):
            weight.grad = gradient.clone()

    seconds = alternating(
        {
            "unit": gemm(),
            "step": _often(lambda: optimizer.step(gradients)),
            "literal step": _often(
                lambda: literal_step(weights, gradients, optimizer.base, adaptive)
            ),
            "gradients": _often(lambda: (gradients(), gradients(), optimizer.base.step())),
        },
        repeats,
        clock=time.process_time,
    )
    for run in ("step", "literal step"):  # what both spend on the gradients themselves
        seconds[run] = (seconds[run] - seconds["gradients"]) / OFTEN
    del seconds["gradients"]
    row = _row(f"{title}{', adaptive' if adaptive else ''}", seconds, ("step",))
    numbers = sum(weight.numel() for weight in weights)
    return row | {"tensors": len(weights), "parameters": numbers}


def _often(run: Callable[[], object]) -> Callable[[], object]:
    """A step is too short to be timed alone."""

    def repeated() -> None:
        for _ in range(OFTEN):
            run()

    return repeated


@torch.no_grad()
def literal_step(
    weights: list[Tensor], closure: Callable[[], None], base: torch.optim.Optimizer, adaptive: bool
) -> None:
    """SAM as the official code runs it, with rho = 0.5."""
    closure()
    sizes = [w.abs() if adaptive else 1.0 for w in weights]
    norms = [(s * w.grad).norm(p=2) for s, w in zip(sizes, weights, strict=True)]
    scale = 0.5 / (torch.stack(norms).norm(p=2) + 1e-12)
    moves = []
    for weight in weights:
        moves.append((weight.pow(2) if adaptive else 1.0) * weight.grad * scale)
        weight.add_(moves[-1])
    base.zero_grad()
    closure()
    for weight, move in zip(weights, moves, strict=True):
        weight.sub_(move)
    base.step()


def _row(case: str, seconds: dict[str, float], runs: tuple[str, ...]) -> dict[str, Any]:
    unit, row = seconds["unit"], {"case": case}
    for run in runs:
        row |= {
            f"{run}_ms": round(1e3 * seconds[run], 3),
            f"literal_{run}_ms": round(1e3 * seconds[f"literal {run}"], 3),
            f"{run}_gain": round(seconds[f"literal {run}"] / seconds[run], 2),
            f"{run}_units": round(seconds[run] / unit, 4),
        }
    return row


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*(name.replace("_", " ") for name in rows[0]), title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=160).print(table)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print two tables, write results/samformer.json and results/sharpness.json."""
    parser = argparse.ArgumentParser(description="SAMformer and SAM against their formulas")
    parser.add_argument("--quick", action="store_true", help="one row of each")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    shapes, networks = (SHAPES[:1], NETWORKS[:1]) if options.quick else (SHAPES, NETWORKS)
    models = [model_row(shape, options.repeats) for shape in shapes]
    _show("SAMformer, float32, one thread", models)
    steps = [
        sam_row(*network, adaptive, options.repeats)
        for network in networks
        for adaptive in (False, True)
    ]
    _show("SAM's own work in a step", steps)
    save(RESULTS / "samformer.json", models)
    save(RESULTS / "sharpness.json", steps)


if __name__ == "__main__":
    main()
