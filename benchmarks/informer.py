"""ProbSparse attention and the whole Informer: ours against their formulas taken literally.

Attention alone (8 heads of 64, factor 5): the chosen kernel and the literal reference, which takes
copies of the sampled keys for every query, alternate in one run. The whole model (published: dim
512, 2 encoder layers, 1 decoder layer): ours and `tests/forecasting/literal_informer.py` with the
same weights and sampled keys alternate, forward and forward + backward. On a CPU the times are of
processor time, so that other programs on the machine do not count.

    OMP_NUM_THREADS=1 python -m benchmarks.informer
    OMP_NUM_THREADS=1 python -m benchmarks.informer --repeats 9 --attention-only
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, is chatty

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.attention.dispatch import Sizes, example, explain
from surform.attention.timing import heads_inside, time_kernels
from surform.bench.measure import save
from surform.hub.official.informer import SYSTEM
from surform.registry import create_model
from tests.forecasting.literal_informer import literal_informer, samples_for

__all__ = ["attention_rows", "main", "model_rows", "model_runs"]

SHAPES = {(32, 96): 3.0, (4, 720): 2.0}  # (batch, tokens) -> gain of the forward pass to be reached
LONG = ((1, 4000),)  # without a figure to be reached
MODELS = ((32, 96, 24), (4, 720, 168))  # batch, look-back, horizon


def attention_rows(repeats: int) -> list[dict[str, Any]]:
    """The chosen kernel and the reference at each shape, causal and not."""
    rows = []
    for batch, tokens in (*SHAPES, *LONG):
        args, kwargs = example("probsparse", Sizes(batch=batch, tokens=tokens), heads_inside)
        for causal in (False, True):
            options = kwargs | {"causal": causal}
            chosen = explain("probsparse", *args, **options).chosen
            for backward in (False, True):
                times = time_kernels(
                    "probsparse",
                    args,
                    options,
                    backward=backward,
                    repeats=repeats,
                    only={chosen, "reference"},
                )
                ours, literal = times[chosen], times["reference"]
                rows.append(
                    {
                        "what": "attention, causal" if causal else "attention",
                        "shape": f"B{batch} L{tokens} 8x64",
                        "pass": "forward+backward" if backward else "forward",
                        "kernel": chosen,
                        "ms": round(ours.cpu_milliseconds, 2),
                        "literal_ms": round(literal.cpu_milliseconds, 2),
                        "gain": round(literal.cpu_milliseconds / ours.cpu_milliseconds, 2),
                        "required": None if backward or causal else SHAPES.get((batch, tokens)),
                        "extra_mb": _megabytes(ours.extra_bytes),
                        "literal_extra_mb": _megabytes(literal.extra_bytes),
                    }
                )
    return rows


def _megabytes(count: int | None) -> float | None:
    return None if count is None else round(count / 2**20, 1)


def model_rows(repeats: int) -> list[dict[str, Any]]:
    """Whole models, ProbSparse and full attention."""
    rows = []
    for batch, lookback, horizon in MODELS:
        for attention in ("prob", "full"):
            runs = model_runs(batch, lookback, horizon, attention)
            found = _in_turns(runs, repeats)
            for name in ("forward", "forward+backward"):
                ours, literal = found[name], found[f"literal {name}"]
                rows.append(
                    {
                        "what": f"model, {attention}",
                        "shape": f"B{batch} L{lookback} H{horizon}",
                        "pass": name,
                        "ms": round(1e3 * ours, 1),
                        "literal_ms": round(1e3 * literal, 1),
                        "gain": round(literal / ours, 2),
                    }
                )
    return rows


def model_runs(
    batch: int, lookback: int, horizon: int, attention: str, layers: int | list[int] = 2
) -> dict[str, Callable[[], Any]]:
    """Ours and the literal path, forward and with backward; `layers` of several encoders: a list,
    which makes an `InformerStack`."""
    given = {
        "enc_in": 7, "dec_in": 7, "c_out": 7, "seq_len": lookback, "label_len": 48,
        "out_len": horizon, "factor": 5, "d_model": 512, "n_heads": 8, "e_layers": layers,
        "d_layers": 1, "d_ff": 2048, "dropout": 0.0, "attn": attention, "embed": "timeF",
        "freq": "h", "activation": "gelu", "distil": True, "mix": True,
    }  # fmt: skip
    torch.manual_seed(0)
    kind, arguments = SYSTEM.arguments(given)
    net: Any = create_model(kind, **arguments)
    state = {k: v.detach() for k, v in SYSTEM.to_official(net.state_dict(), given).items()}
    samples = samples_for(given, lookback) if attention == "prob" else None
    steps = 48 + horizon
    inputs = (
        torch.randn(batch, lookback, 7),
        torch.rand(batch, lookback, 4) - 0.5,
        torch.randn(batch, steps, 7),
        torch.rand(batch, steps, 4) - 0.5,
    )
    trained = {k for k, v in state.items() if v.is_floating_point() and "running" not in k}

    def ours(training: bool) -> torch.Tensor:
        net.train(training)
        return net.forward_from(*inputs, samples=samples)

    def literal(training: bool) -> torch.Tensor:
        for key in trained:
            state[key].requires_grad_(training)
        return literal_informer(state, given, inputs, samples, training)[0]

    def trains(path: Callable[[bool], torch.Tensor], leaves: list[torch.Tensor]) -> Any:
        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            path(True).square().mean().backward()

        return run

    return {
        "forward": lambda: torch.no_grad()(ours)(False),
        "literal forward": lambda: torch.no_grad()(literal)(False),
        "forward+backward": trains(ours, list(net.parameters())),
        "literal forward+backward": trains(literal, [state[key] for key in trained]),
    }


def _in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of processor time (CPU) or by the clock (GPU) after a turn of warm-up."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if turn:
                seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    table = Table("what", "shape", "pass", "ms", "literal ms", "gain", "required", "extra MB")
    table.title = f"Informer, float32, {torch.get_num_threads()} thread(s)"
    for row in rows:
        wanted, extra = row.get("required"), row.get("extra_mb")
        table.add_row(
            row["what"],
            row["shape"],
            row["pass"],
            f"{row['ms']:.4g}",
            f"{row['literal_ms']:.4g}",
            f"{row['gain']:.2f}x",
            "" if wanted is None else f"{wanted:.1f}x",
            "" if extra is None else f"{extra} ({row['literal_extra_mb']})",
        )
    Console(width=120).print(table)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write results/informer.json."""
    parser = argparse.ArgumentParser(description="Informer: ours against the literal formulas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--attention-only", action="store_true", help="leave whole models out")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    rows = attention_rows(options.repeats)
    if not options.attention_only:
        rows += model_rows(options.repeats)
    show(rows)
    save(RESULTS / "informer.json", rows)


if __name__ == "__main__":
    main()
