"""Pathformer at published sizes: ours against the operations of the official code in their order.

A training step (forward with noise and dropout, L1 loss plus the balance penalty, backward) and an
evaluation, float32, one thread, same weights, taken in turns in one process, in CPU seconds. The
literal path is `tests/forecasting/literal_pathformer.py`.

    python -m benchmarks.pathformer
    python -m benchmarks.pathformer --repeats 9 --cases etth1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import gemm, peak_memory, save
from surform.forecasting.pathformer import Pathformer
from tests.forecasting.literal_pathformer import literal_forward

__all__ = ["CASES", "main", "row"]

ACCEPTANCE = {"training_gain": 1.3, "evaluation_gain": 1.6}
# batch, and the arguments that differ from the defaults; the 96 steps to come are forecast
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "etth1": (128, {"variates": 7, "top_k": 3, "dim": 4, "mlp_ratio": 16.0, "residual": True}),
    "weather": (
        32,
        {
            "variates": 21,
            "top_k": 2,
            "dim": 8,
            "mlp_ratio": 8.0,
            "residual": True,
            "patch_sizes": [[16, 12, 8, 4], [12, 8, 6, 4], [8, 6, 2, 12]],
        },
    ),
}


def row(name: str, repeats: int) -> dict[str, Any]:
    """Seconds, gains and memory of one case."""
    batch, arguments = CASES[name]
    torch.manual_seed(0)
    net, x = Pathformer(**arguments), torch.randn(batch, 96, arguments["variates"])
    paths = {"": net.forecast_and_penalty, "literal ": lambda u: literal_forward(net, u)}
    runs: dict[str, Callable[[], object]] = {"unit": gemm()}
    for label, path in paths.items():
        runs[f"{label}evaluation"] = _evaluation(net, path, x)
        runs[f"{label}training"] = _training(net, path, x)
    best = {name: min(seconds) for name, seconds in _in_turns(runs, repeats).items()}
    parameters = sum(p.numel() for p in net.parameters())
    found: dict[str, Any] = {"case": name, "batch": batch, "parameters": parameters}
    for kind in ("evaluation", "training"):
        memory = [peak_memory(_program(name, kind, literal)) for literal in (False, True)]
        found |= {
            f"{kind}_ms": round(1e3 * best[kind], 1),
            f"literal_{kind}_ms": round(1e3 * best[f"literal {kind}"], 1),
            f"{kind}_gain": round(best[f"literal {kind}"] / best[kind], 2),
            f"{kind}_units": round(best[kind] / best["unit"], 2),
            f"{kind}_mb": round(memory[0]),
            f"literal_{kind}_mb": round(memory[1]),
        }
    return found


def _in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of every run in every turn, after one turn of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def _evaluation(net: Pathformer, path: Callable[..., Any], x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        net.eval()
        with torch.no_grad():
            path(x)

    return run


def _training(net: Pathformer, path: Callable[..., Any], x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        net.train().zero_grad()
        y, penalty = path(x)
        (y.abs().mean() + penalty).backward()

    return run


def _program(name: str, kind: str, literal: bool) -> str:
    """Source of one call in a process of its own."""
    batch, arguments = CASES[name]
    call = "literal_forward(net, x)" if literal else "net.forecast_and_penalty(x)"
    if kind == "training":
        body = f"    y, penalty = {call}\n    (y.abs().mean() + penalty).backward()\n"
    else:
        body = f"    net.eval()\n    with torch.no_grad():\n        {call}\n"
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from surform.forecasting.pathformer import Pathformer\n"
        "from tests.forecasting.literal_pathformer import literal_forward\n"
        f"net = Pathformer(**{arguments!r})\n"
        f"def run():\n{body}"
        f"x = torch.randn(2, 96, {arguments['variates']})\n"
        "run()\n"
        f"x = torch.randn({batch}, 96, {arguments['variates']})\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/pathformer.json."""
    parser = argparse.ArgumentParser(description="Pathformer: ours against the literal operations")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row(name, options.repeats) for name in options.cases]
    table = Table(title="Pathformer, 96 -> 96 steps, one thread, CPU time")
    for heading in ("", "ms", "literal ms", "gain", "wanted", "GEMM units", "MB (literal)"):
        table.add_column(heading, justify="right")
    for found in rows:
        for kind in ("evaluation", "training"):
            table.add_row(
                f"{found['case']} {kind}",
                f"{found[f'{kind}_ms']:.0f}",
                f"{found[f'literal_{kind}_ms']:.0f}",
                f"{found[f'{kind}_gain']:.2f}x",
                f"{ACCEPTANCE[f'{kind}_gain']:.1f}x",
                f"{found[f'{kind}_units']:.2f}",
                f"{found[f'{kind}_mb']} ({found[f'literal_{kind}_mb']})",
            )
    Console().print(table)
    save(RESULTS / "pathformer.json", rows, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
