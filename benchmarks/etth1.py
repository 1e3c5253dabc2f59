"""Published forecasters trained by their recipes on ETTh1: test errors beside the papers'.

Every run is `surform fit --config forecasting/RECIPE --data.path ETTh1.csv --seed_everything SEED`,
then `surform test`, one thread each. Finished runs are kept in benchmarks/results/etth1.json and
not repeated; unfinished ones lie in `runs/etth1` and go on, so the program may be stopped.

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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import save

__all__ = ["EXPERIMENTS", "main"]

RUNS = Path("runs") / "etth1"
RESULT = RESULTS / "etth1.json"
Runs = dict[tuple[str, int], dict[str, Any]]  # by recipe and seed
_WRITING = Lock()


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
    parser.add_argument("--again", action="store_true", help="repeat runs that the results hold")
    options = parser.parse_args(arguments)
    chosen = [
        one
        for one in EXPERIMENTS
        if one.model in options.models and (not options.horizons or one.horizon in options.horizons)
    ]
    if options.path:
        path, done = str(Path(options.path).resolve()), set(_runs())
        # all recipes with their first seed, then all with the second: a stopped program shows most
        wanted = [
            (one, seed)
            for seed in range(1, options.seeds + 1)
            for one in chosen
            if options.again or (one.recipe, seed) not in done
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda job: _run(job[0], job[1], path), wanted))
    _write(_runs(), chosen)


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
    print(f"{one.recipe}, seed {seed}: test MSE {_keep(one, seed, folder):.4f}", flush=True)


def _surform(*words: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from surform.cli import main; raise SystemExit(main())"]
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"surform {' '.join(words)} failed: {done.stderr[-1000:]}")


def _row(one: Experiment, runs: Runs) -> dict[str, Any]:
    """Means over the finished seeds; {} where there is none."""
    found = [run for (recipe, _), run in sorted(runs.items()) if recipe == one.recipe]
    if not found:
        return {}
    mse = [run["mse"] for run in found]
    return {
        "recipe": one.recipe,
        "seeds": len(found),
        "test mse": round(statistics.mean(mse), 4),
        "lowest": round(min(mse), 4),
        "highest": round(max(mse), 4),
        "test mae": round(statistics.mean(run["mae"] for run in found), 4),
        "paper mse": one.paper_mse,
        "paper mae": "" if one.paper_mae != one.paper_mae else one.paper_mae,
        "bound": one.bound,
        "parameters": found[0]["parameters"],
        "epochs": round(statistics.mean(run["epochs"] for run in found), 1),
        "seconds": round(statistics.mean(run["seconds"] for run in found)),
    }


def _runs() -> Runs:
    """Every finished run, of this and of earlier calls."""
    if not RESULT.exists():
        return {}
    found = json.loads(RESULT.read_text()).get("runs", [])
    return {(run["recipe"], run["seed"]): run for run in found}


def _keep(one: Experiment, seed: int, folder: Path) -> float:
    """Write a finished run beside the others; its test MSE."""
    tested = json.loads((folder / "test.json").read_text())
    trained = json.loads((folder / "summary.json").read_text())
    run = {
        "recipe": one.recipe,
        "seed": seed,
        "mse": round(tested["test/mse/clean"], 5),
        "mae": round(tested["test/mae/clean"], 5),
        **{name: trained[name] for name in ("parameters", "epochs")},
        "seconds": round(trained["seconds"]),
    }
    with _WRITING:
        _write({**_runs(), (one.recipe, seed): run})
    return run["mse"]


def _write(runs: Runs, shown: Sequence[Experiment] = ()) -> None:
    """The results: a row per recipe, for the documentation, and every run."""
    rows = [row for one in EXPERIMENTS if (row := _row(one, runs))]
    save(RESULT, rows, runs=[run for _, run in sorted(runs.items())])
    if shown:
        _print([row for one in shown if (row := _row(one, runs))])


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="ETTh1, all test windows, standardised errors")
    for column in rows[0] if rows else ():
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
