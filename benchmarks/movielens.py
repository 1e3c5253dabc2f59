"""Rankers on MovieLens, random split, several seeds: mean and deviation of test figures.

A rating of 4 or more is a positive label; features are user, movie, its year and genres, hour and
weekday of the rating. Each run tests the weights of its best validation AUC. Settings differ from
the recipe recommenders/movielens by what `NETWORKS` says, and were chosen by validation only. The
split is that of the FuxiCTR runs: RandomState(2023), 80/10/10.

    python -m benchmarks.movielens --path ml-latest-small
    python -m benchmarks.movielens --path ml-latest-small --only hiformer --seeds 1 --validation
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.rankers import show, trained
from surform.bench.measure import save
from surform.cli.fit_progress import quiet

__all__ = ["NETWORKS", "main"]

_OTHER = "vocab: null, multi_vocab: null, dropout: 0.2"
NETWORKS: dict[str, list[str]] = {
    "hiformer": [],
    "hiformer + deep": ["--model.net.deep", "[400, 400]"],
    "autoint + deep": [
        "--model.net",
        "{class_path: autoint, init_args: {" + _OTHER + ", deep: [400, 400]}}",
    ],
    "dcnv2": ["--model.net", "{class_path: dcn_v2, init_args: {" + _OTHER + "}}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder with ratings.csv and movies.csv")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--validation", action="store_true", help="show validation figures only")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides, for tuning")
    args = parser.parse_args()
    quiet()
    rows = []
    for name in args.only:
        found = [_run(name, seed, args.path, args.set) for seed in range(1, args.seeds + 1)]
        rows.append(_row(name, found, args.validation))
        show("MovieLens", rows, tuple(rows[-1]))
    if list(args.only) == list(NETWORKS) and not args.set and not args.validation:
        save(RESULTS / "movielens.json", rows)


def _run(name: str, seed: int, path: str, more: list[str]) -> dict[str, float]:
    given = ["--data.path", path, "--seed_everything", str(seed), "--data.seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*NETWORKS[name], *given, *more]
        return trained("recommenders/movielens", overrides, Path(folder) / "run")


def _row(name: str, found: list[dict[str, float]], validation: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"ranker": name, "runs": len(found)}
    for key in ("validation",) if validation else ("validation", "auc", "log_loss"):
        values = [each[key] for each in found]
        row[key] = float(np.mean(values))
        row[f"{key} std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    mean = {key: float(np.mean([each[key] for each in found])) for key in ("parameters", "seconds")}
    return row | {"parameters": int(mean["parameters"]), "seconds": round(mean["seconds"], 1)}


if __name__ == "__main__":
    main()
