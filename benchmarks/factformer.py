"""FactFormer in the published Kolmogorov configuration: ours against its formulas taken literally.

One sample of 128 x 128 points, 4 latent steps, float32, one thread; ours, the literal path and one
2048^3 float32 matrix product (the unit of cost) take turns in one process; memory is measured in
fresh processes. The literal path is `tests/operators/literal_factformer.py`, same weights.

    python -m benchmarks.factformer
    python -m benchmarks.factformer --repeats 9 --compile
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import RESULTS
from surform.bench.flops import minimal_flops
from surform.bench.measure import GEMM_FLOPS, gemm, peak_memory, save
from surform.operators.factformer import FactFormer2d
from tests.operators.literal_factformer import literal_forward

__all__ = ["main", "row"]

GRID = 128
ACCEPTANCE = {"forward_units": 4.0, "training_units": 11.5, "peak": 0.7}


def row(repeats: int, out_norm: str, compiled: bool = False) -> dict[str, Any]:
    """Seconds, units, ratios and memory of one variant."""
    torch.manual_seed(0)
    net = FactFormer2d(out_norm=out_norm)  # type: ignore[arg-type]
    ours: Callable[..., torch.Tensor] = torch.compile(net) if compiled else net  # type: ignore[assignment]
    u, x = torch.randn(1, 10, GRID, GRID, 1), (torch.linspace(0, 2 * torch.pi, GRID),) * 2
    paths = {"": lambda: ours(u, x), "literal ": lambda: literal_forward(net, u, x)}
    runs: dict[str, Callable[[], object]] = {"unit": gemm()}
    for name, path in paths.items():
        runs[f"{name}forward"] = _quiet(net, path)
        runs[f"{name}training"] = _training(net, path)
    turns = _in_turns(runs, repeats)
    best = {name: min(values) for name, values in turns.items()}
    found: dict[str, Any] = {"out_norm": out_norm, "compiled": compiled}
    flops = minimal_flops(net, 1, (GRID, GRID)) or 0
    for name, factor in (("forward", 1), ("training", 3)):
        units = [a / b for a, b in zip(turns[name], turns["unit"], strict=True)]
        share = factor * flops / GEMM_FLOPS * best["unit"] / best[name]
        found |= {
            f"{name}_ms": round(1e3 * best[name], 1),
            f"{name}_units": round(best[name] / best["unit"], 2),
            f"{name}_units_per_turn": sorted(round(value, 2) for value in units),
            f"{name}_share_of_gemm_rate": round(share, 3),
            f"{name}_gain": round(best[f"literal {name}"] / best[name], 2),
            f"literal_{name}_units": round(best[f"literal {name}"] / best["unit"], 2),
        }
        memory = [peak_memory(_program(out_norm, name, literal)) for literal in (False, True)]
        found |= {
            f"{name}_mb": round(memory[0]),
            f"literal_{name}_mb": round(memory[1]),
            f"{name}_memory_ratio": round(memory[0] / memory[1], 3),
        }
    return found


def _in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run in every turn, after two turns of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _quiet(net: nn.Module, path: Callable[[], torch.Tensor]) -> Callable[[], object]:
    def run() -> torch.Tensor:
        net.eval()
        with torch.no_grad():
            return path()

    return run


def _training(net: nn.Module, path: Callable[[], torch.Tensor]) -> Callable[[], object]:
    def run() -> None:
        net.train().zero_grad()
        path().square().mean().backward()

    return run


def _program(out_norm: str, name: str, literal: bool) -> str:
    """Source of one call in a process of its own; a small one first loads what loads only once."""
    call = "literal_forward(net, u, x)" if literal else "net(u, x)"
    if name == "training":
        body = f"    {call}.square().mean().backward()\n"
    else:
        body = f"    with torch.no_grad():\n        {call}\n"
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from surform.operators.factformer import FactFormer2d\n"
        "from tests.operators.literal_factformer import literal_forward\n"
        f"net = FactFormer2d(out_norm={out_norm!r})\n"
        f"def run():\n{body}"
        "u, x = torch.randn(1, 10, 16, 16, 1), (torch.linspace(0, 6.28, 16),) * 2\n"
        "run()\n"
        f"u, x = torch.randn(1, 10, {GRID}, {GRID}, 1), (torch.linspace(0, 6.28, {GRID}),) * 2\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/factformer.json."""
    parser = argparse.ArgumentParser(description="FactFormer: ours against the literal formulas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--norms", nargs="+", default=["group"], help="out_norm variants")
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile, too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row(options.repeats, norm) for norm in options.norms]
    if options.compile:
        rows.append(row(options.repeats, options.norms[0], compiled=True))
    table = Table(title="FactFormer, Kolmogorov configuration, B=1, 128 x 128, one thread")
    for heading in ("", "ms", "GEMM units", "bound", "share of GEMM rate", "literal", "gain"):
        table.add_column(heading, justify="right")
    table.add_column("peak MB (literal, ratio)", justify="right")
    for found in rows:
        for name in ("forward", "training"):
            kind = "compiled" if found["compiled"] else found["out_norm"]
            table.add_row(
                f"{kind} {name}",
                f"{found[f'{name}_ms']:.0f}",
                f"{found[f'{name}_units']:.2f}",
                f"{ACCEPTANCE[f'{name}_units']:.1f}",
                f"{100 * found[f'{name}_share_of_gemm_rate']:.0f} %",
                f"{found[f'literal_{name}_units']:.2f}",
                f"{found[f'{name}_gain']:.2f}x",
                f"{found[f'{name}_mb']} ({found[f'literal_{name}_mb']}, "
                f"{found[f'{name}_memory_ratio']:.2f})",
            )
    Console().print(table)
    save(RESULTS / "factformer.json", rows, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
