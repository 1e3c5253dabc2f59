"""Forecasters beside neuralforecast's, on the same windows, one thread, in turns.

neuralforecast is installed from PyPI into an environment of its own at first use. Both sides train
on the same standardised rows with the same sizes, batch of windows, learning rate and number of
steps, every run in a fresh process; seconds are those between the first and the last batch, so
neither pays for its imports. The test pass forecasts every test window.

    python -m benchmarks.forecasting                       # generated series of ETTh1's shape
    python -m benchmarks.forecasting --path ETTh1.csv      # its training, validation and test rows
    python -m benchmarks.forecasting --epochs 10 --repeats 1 --models itransformer
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import save

__all__ = ["main"]

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-neuralforecast"
ROWS = {"train": 8640, "validation": 2880, "test": 2880}  # ETTh1's
SIZES = {
    "itransformer": {"lookback": 96, "horizon": 96, "lr": 1e-4},
    "informer": {"lookback": 48, "horizon": 24, "lr": 1e-4},
}
ACCEPTANCE = {"itransformer epoch, theirs over ours": 1.5, "full test pass over batch 1": 5.0}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/forecasting.json."""
    parser = argparse.ArgumentParser(description="forecasters against neuralforecast")
    parser.add_argument("--path", help="table with a first column of times (default: generated)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print("\n" + json.dumps(_ours(json.loads(options.worker))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        table = _write_table(options.path, Path(folder))
        for name in options.models:
            rows += _compare(name, table, options)
    _print(rows)
    save(
        RESULTS / "forecasting.json",
        _others(options.models) + rows,
        acceptance=ACCEPTANCE,
        data=Path(options.path).name if options.path else "generated",
    )


def _others(models: list[str]) -> list[dict[str, Any]]:
    """What the results hold of models that were not measured now."""
    path = RESULTS / "forecasting.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in known if row["model"] not in models]


def _compare(name: str, table: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    sizes = SIZES[name]
    windows = ROWS["train"] - sizes["lookback"] - sizes["horizon"] + 1
    request = sizes | {
        "table": str(table),
        "model": name,
        "batch_size": 32,
        "steps": options.epochs * (windows // 32),
        "validation": ROWS["validation"],
        "test": ROWS["test"],
    }
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "neuralforecast": []}
    for seed in range(options.repeats):
        for side, program in (("ours", _our_program), ("neuralforecast", _their_program)):
            found[side].append(_run(program(request | {"seed": seed})))
    return [
        {"model": name, "side": side, "epochs": options.epochs}
        | {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for side, runs in found.items()
    ]


def _our_program(request: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.forecasting", "--worker", json.dumps(request)]


def _their_program(request: dict[str, Any]) -> list[str]:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing neuralforecast into {ENVIRONMENT}")
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "neuralforecast>=3.0"]
        subprocess.run(pip, check=True)
    return [str(python), str(HERE / "neuralforecast_run.py"), json.dumps(request)]


def _run(program: list[str]) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"{program[:3]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _ours(request: dict[str, Any]) -> dict[str, Any]:
    """One training run and test pass, through the same loop that `surform fit` uses."""
    import lightning as L
    import torch

    from surform.data.series_module import SeriesData
    from surform.forecasting.task import ForecastTask
    from surform.registry import create_model
    from surform.training.schedules import Constant

    torch.set_num_threads(1)
    L.seed_everything(request["seed"], verbose=False)
    data = SeriesData(
        request["table"],
        request["lookback"],
        request["horizon"],
        split=dict(ROWS.items()),
        step="",
        normalize="none",
        batch_size=request["batch_size"],
        eval_batch_size=256,
    )
    net = create_model(request["model"], **_arguments(request, len(data.table.roles.variates)))
    lr = request["lr"]
    task = ForecastTask(
        net,
        optimizer=lambda p: torch.optim.Adam(p, lr=lr, fused=True),
        schedule=Constant(),
        metrics=("mse", "mae"),
    )
    clock = _clock()
    trainer = L.Trainer(
        max_steps=request["steps"], accelerator="cpu", logger=False, callbacks=[clock],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, data)
    figures = trainer.test(task, data, verbose=False)[0]
    one = _one_by_one(task, data)
    return {
        "train_seconds": clock.seconds["train"],
        "test_seconds": _all_windows(task, data),
        "test_seconds_batch_1": one,
        "steps": request["steps"],
        "windows": len(data.windows("test")),
        "mse": figures["test/mse/clean"],
        "mae": figures["test/mae/clean"],
        "parameters": sum(p.numel() for p in net.parameters()),
    }


def _arguments(request: dict[str, Any], variates: int) -> dict[str, Any]:
    sizes = {"lookback": request["lookback"], "horizon": request["horizon"]}
    if request["model"] == "itransformer":
        return sizes | {"dim": 256, "mlp_ratio": 1.0, "depth": 2, "heads": 8, "dropout": 0.1}
    return sizes | {  # neuralforecast's start is half of the look-back; no calendar features
        "variates": variates, "marks": 0, "label_length": request["lookback"] // 2, "dim": 512,
        "depth": 2, "decoder_depth": 1, "heads": 8, "mlp_ratio": 4.0, "factor": 5, "dropout": 0.05,
    }  # fmt: skip


def _clock() -> Any:
    import lightning as L

    class Clock(L.Callback):
        """Seconds between the first and the last batch of training."""

        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}
            self.began = 0.0

        def on_train_start(self, *_: Any) -> None:
            self.began = time.perf_counter()

        def on_train_batch_end(self, *_: Any) -> None:
            self.seconds["train"] = time.perf_counter() - self.began

    return Clock()


def _all_windows(task: Any, data: Any) -> float:
    """Seconds of forecasting every test window in batches, which is all that the peer does."""
    import torch

    began = time.perf_counter()
    with torch.inference_mode():
        for batch in data.test_dataloader():
            task.evaluate_batch(batch)
    return time.perf_counter() - began


def _one_by_one(task: Any, data: Any, most: int = 300) -> float:
    """Seconds of the test pass with batches of one window, as published codes do it."""
    import torch

    windows = data.windows("test")
    count = min(most, len(windows))
    with torch.inference_mode():
        task.evaluate_batch(windows[[0]])
        began = time.perf_counter()
        for place in range(count):
            task.evaluate_batch(windows[[place]])
    return (time.perf_counter() - began) / count * len(windows)


def _write_table(path: str | None, folder: Path) -> Path:
    """Values standardised by the training rows, one column per variate, as CSV."""
    total = sum(ROWS.values())
    if path is None:
        rng = np.random.default_rng(0)
        hours = np.arange(total)[:, None]
        phases, noise = rng.uniform(0, 6, 7), rng.standard_normal((total, 7)).cumsum(0)
        values = np.sin(2 * np.pi * hours / 24 + phases) + 0.02 * noise
        names = [f"v{k}" for k in range(7)]
    else:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        names = lines[0].split(",")[1:]
        values = np.array([line.split(",")[1:] for line in lines[1 : total + 1]], float)
    train = values[: ROWS["train"]]
    values = (values - train.mean(0)) / train.std(0)
    out = folder / "values.csv"
    np.savetxt(out, values, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    return out


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="One thread; seconds are medians over the repeats")
    columns = ("model", "side", "parameters", "epochs", "train_seconds", "test_seconds")
    columns += ("test_seconds_batch_1", "windows", "mse", "mae")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells))
    Console(width=140).print(table)
    for name in dict.fromkeys(row["model"] for row in rows):
        ours, theirs = (r for r in rows if r["model"] == name)
        gain = theirs["train_seconds"] / ours["train_seconds"]
        passes = ours["test_seconds_batch_1"] / ours["test_seconds"]
        print(f"{name}: training {gain:.2f}x as fast as neuralforecast's; ", end="")
        print(f"the test pass {theirs['test_seconds'] / ours['test_seconds']:.2f}x, ", end="")
        print(f"and {passes:.1f}x as fast as one window at a time")


if __name__ == "__main__":
    main()
