"""Published forecasters trained by their recipes on ETTh1: test errors beside the papers'.

Every run is `surform fit --config forecasting/RECIPE --data.path ETTh1.csv --seed_everything SEED`,
then `surform test`, one thread each. Finished runs are kept in `runs/etth1` and not repeated, so
the program may be stopped and started again.

    python -m benchmarks.etth1 --path ETTh1.csv
    python -m benchmarks.etth1 --path ETTh1.csv --models samformer card --horizons 96 --seeds 3
    python -m benchmarks.etth1 --path ETTh1.csv --jobs 2          # two runs at a time
    python -m benchmarks.etth1                                    # the table of what has finished
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import save

__all__ = ["EXPERIMENTS", "main"]

RUNS = Path("runs") / "etth1"


@dataclass(frozen=True)
class Experiment:
    """A recipe, the paper's test errors, and the mean MSE that it must not exceed."""

    model: str
    recipe: str
    horizon: int
    paper_mse: float
    paper_mae: float
    bound: float


def _series(
    model: str, recipe: str, paper: dict[int, tuple[float, float]], first: float
) -> list[Experiment]:
    """Horizons of one model: the first has a bound of its own, others 3 % above the paper."""
    return [
        Experiment(
            model,
            recipe.format(horizon),
            horizon,
            mse,
            mae,
            first if horizon == 96 else round(1.03 * mse, 4),
        )
        for horizon, (mse, mae) in paper.items()
    ]


_NAN = float("nan")
EXPERIMENTS = [
    *_series(
        "itransformer",
        "itransformer-etth1-{}",
        {96: (0.386, 0.405), 192: (0.441, 0.436), 336: (0.487, 0.458), 720: (0.503, 0.491)},
        0.389,
    ),
    *_series(
        "card",
        "card-etth1-{}-fast",
        {96: (0.383, 0.391), 192: (0.435, 0.420), 336: (0.479, 0.442), 720: (0.471, 0.461)},
        0.386,
    ),
    *_series(
        "samformer",
        "samformer-etth1-{}",
        {96: (0.381, 0.402), 192: (0.409, _NAN), 336: (0.423, _NAN), 720: (0.427, _NAN)},
        0.375,
    ),
    Experiment("pathformer", "pathformer-etth1-96", 96, 0.382, 0.400, 0.392),
    Experiment("informer", "informer-etth1-24", 24, 0.577, 0.549, round(1.05 * 0.577, 4)),
]


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, print one table, write results/etth1.json."""
    models = list(dict.fromkeys(one.model for one in EXPERIMENTS))
    parser = argparse.ArgumentParser(description="the published forecasters on ETTh1")
    parser.add_argument("--path", help="ETTh1.csv (zhouhaoyi/ETDataset); without it nothing is run")
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--horizons", nargs="+", type=int)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each recipe (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (default: 1)")
    options = parser.parse_args(arguments)
    chosen = [
        one
        for one in EXPERIMENTS
        if one.model in options.models and (not options.horizons or one.horizon in options.horizons)
    ]
    if options.path:
        path = str(Path(options.path).resolve())
        # all recipes with their first seed, then all with the second: a stopped program shows most
        wanted = [(one, seed) for seed in range(1, options.seeds + 1) for one in chosen]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda job: _run(*job, path), wanted))
    rows = [row for one in chosen if (row := _row(one, options.seeds))]
    _print(rows)
    kept = _kept({row["recipe"] for row in rows})
    save(RESULTS / "etth1.json", sorted(kept + rows, key=lambda row: row["recipe"]))


def _run(one: Experiment, seed: int, path: str) -> None:
    """Train and test unless that was done; an interrupted training goes on where it stopped."""
    folder = RUNS / one.recipe / f"seed{seed}"
    if not (folder / "summary.json").exists():
        last = folder / "checkpoints" / "last.ckpt"
        start = (
            ["--ckpt_path", "last"]
            if last.exists()
            else ["--config", f"forecasting/{one.recipe}", "--data.path", path]
            + ["--seed_everything", str(seed), "--data.seed", str(seed)]
        )
        _surform("fit", *start, "--out", str(folder), "--no_report")
    if not (folder / "test.json").exists():
        _surform("test", "--ckpt_path", "best", "--out", str(folder))
    found = json.loads((folder / "test.json").read_text())
    print(f"{one.recipe}, seed {seed}: test MSE {found['test/mse/clean']:.4f}", flush=True)


def _surform(*words: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from surform.cli import main; raise SystemExit(main())"]
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"surform {' '.join(words)} failed: {done.stderr[-1000:]}")


def _row(one: Experiment, seeds: int) -> dict[str, Any]:
    """Means over the finished seeds; {} where there is none."""
    tested, trained = [], []
    for seed in range(1, seeds + 1):
        folder = RUNS / one.recipe / f"seed{seed}"
        if (folder / "test.json").exists():
            tested.append(json.loads((folder / "test.json").read_text()))
            trained.append(json.loads((folder / "summary.json").read_text()))
    if not tested:
        return {}
    mse = [found["test/mse/clean"] for found in tested]
    return {
        "recipe": one.recipe,
        "seeds": len(tested),
        "test mse": round(statistics.mean(mse), 4),
        "lowest": round(min(mse), 4),
        "highest": round(max(mse), 4),
        "test mae": round(statistics.mean(f["test/mae/clean"] for f in tested), 4),
        "paper mse": one.paper_mse,
        "paper mae": "" if one.paper_mae != one.paper_mae else one.paper_mae,
        "bound": one.bound,
        "parameters": trained[0]["parameters"],
        "epochs": round(statistics.mean(run["epochs"] for run in trained), 1),
        "seconds": round(statistics.mean(run["seconds"] for run in trained)),
    }


def _kept(replaced: set[str]) -> list[dict[str, Any]]:
    """Rows of earlier calls about other recipes."""
    file = RESULTS / "etth1.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [row for row in rows if row["recipe"] not in replaced]


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="ETTh1, all test windows, standardised errors")
    for column in rows[0] if rows else ():
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
