"""Galerkin Transformer: ours against the literal order of the products, in turns, in one run.

Both sides are the same model with the same weights; the literal side computes (q k^T) v with all
n x n scores (`attention.use("reference")`), without the score dropout of the official code, which
would only slow it down further.

    python -m benchmarks.galerkin            # the published Burgers configuration and Darcy's
    python -m benchmarks.galerkin --quick    # one row
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import RESULTS
from surform import attention
from surform.bench.flops import minimal_flops
from surform.bench.measure import GEMM_FLOPS, alternating, gemm, peak_memory, save
from surform.registry import create_model

__all__ = ["main", "rows"]

Case = tuple[str, str, dict[str, Any], int, int]  # title, model, arguments, batch, nodes per axis
CASES: tuple[Case, ...] = (
    ("Burgers, fourier", "galerkin1d", {"attention": "fourier"}, 2, 2048),
    ("Burgers, fourier", "galerkin1d", {"attention": "fourier"}, 1, 2048),
    ("Burgers, galerkin", "galerkin1d", {"attention": "galerkin"}, 2, 2048),
    ("Burgers, softmax", "galerkin1d", {"attention": "softmax"}, 2, 2048),
    ("Darcy 141/43, galerkin", "galerkin2d", {"norm_eps": 1e-7}, 1, 141),
)


def rows(cases: tuple[Case, ...], repeats: int) -> list[dict[str, Any]]:
    """One row per case: milliseconds, ratios and costs in units of one 2048^3 product."""
    return [_row(*case, repeats=repeats) for case in cases]


def _row(
    title: str, name: str, arguments: dict[str, Any], batch: int, nodes: int, *, repeats: int
) -> dict[str, Any]:
    torch.manual_seed(0)
    net = create_model(name, **arguments)
    axes = 1 if name == "galerkin1d" else 2
    forward, training = _runs(net, torch.randn(batch, *(nodes,) * axes, 1), axes)
    seconds = alternating(
        {
            "unit": gemm(),
            "forward": forward,
            "literal forward": _literally(forward),
            "training": training,
            "literal training": _literally(training),
        },
        repeats=repeats,
    )
    unit = seconds.pop("unit")
    flops = minimal_flops(net, batch, (nodes,) * axes) or 0
    setup = _program(name, arguments, batch, nodes, axes)
    return {
        "case": title,
        "batch": batch,
        "nodes": nodes,
        "milliseconds": {name: round(1e3 * value, 2) for name, value in seconds.items()},
        "units": {name: round(value / unit, 3) for name, value in seconds.items()},
        "forward_gain": round(seconds["literal forward"] / seconds["forward"], 2),
        "training_gain": round(seconds["literal training"] / seconds["training"], 2),
        "share_of_gemm_rate": round(flops / GEMM_FLOPS * unit / seconds["forward"], 3),
        "peak_mb": round(peak_memory(setup.format(kernel="auto")), 1),
        "literal_peak_mb": round(peak_memory(setup.format(kernel="reference")), 1),
    }


def _runs(
    net: nn.Module, u: torch.Tensor, axes: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    coordinates = tuple(torch.linspace(0, 1, u.shape[1]) for _ in range(axes))

    def forward() -> object:
        with torch.no_grad():
            return net(u, coordinates)

    def training() -> None:
        net.zero_grad()
        net(u, coordinates).square().mean().backward()

    return forward, training


def _literally(run: Callable[[], object]) -> Callable[[], object]:
    def literal() -> None:
        with attention.use("reference"):
            run()

    return literal


def _program(name: str, arguments: dict[str, Any], batch: int, nodes: int, axes: int) -> str:
    """Source of one training step in a process of its own; {kernel} is left open."""
    return (
        # Custom operators load torch._dynamo at their first call: not a matter of these kernels.
        "import torch, torch._dynamo; torch.set_num_threads(1)\n"
        "from contextlib import nullcontext\n"
        "from surform import attention; from surform.registry import create_model\n"
        f"net = create_model({name!r}, **dict({list(arguments.items())!r}))\n"
        f"u = torch.randn({batch}, *({nodes},) * {axes}, 1)\n"
        f"c = (torch.linspace(0, 1, {nodes}),) * {axes}\n"
        "def run():\n"
        "    literal = '{kernel}' == 'reference'\n"
        "    with attention.use('reference') if literal else nullcontext():\n"
        "        net(u, c).square().mean().backward()\n"
        # A small step first, so that what loads only once is not counted.
        "everything = u, c\n"
        f"small = (slice(None),) + (slice(0, 64),) * {axes}\n"
        "u, c = u[small], tuple(x[:64] for x in c)\n"
        "run()\n"
        "u, c = everything\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/galerkin.json."""
    parser = argparse.ArgumentParser(
        description="Galerkin Transformer: ours against literal attention"
    )
    parser.add_argument("--quick", action="store_true", help="only the published Burgers row")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = rows(CASES[:1] if options.quick else CASES, options.repeats)
    table = Table(title="Galerkin Transformer, float32, one thread; literal = all n x n scores")
    for column in (
        "case",
        "B x n",
        "forward ms",
        "gain",
        "fwd+bwd ms",
        "gain",
        "peak MB",
        "literal",
    ):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in found:
        table.add_row(
            row["case"],
            f"{row['batch']} x {row['nodes']}",
            f"{row['milliseconds']['forward']:.1f}",
            f"{row['forward_gain']:.1f}x",
            f"{row['milliseconds']['training']:.1f}",
            f"{row['training_gain']:.1f}x",
            f"{row['peak_mb']:.0f}",
            f"{row['literal_peak_mb']:.0f}",
        )
    Console().print(table)
    save(RESULTS / "galerkin.json", found, acceptance={"forward_gain": 4.0, "training_gain": 3.5})


if __name__ == "__main__":
    main()
