"""Rankers on MovieLens, random split, several seeds: mean and deviation of test figures.

A rating of 4 or more is a positive label; features are user, movie, its year and genres, hour and
weekday of the rating. Each run tests the weights of its best validation AUC. Settings differ from
the recipe recommenders/movielens by what `NETWORKS` says, and were chosen by validation only. The
split is that of the FuxiCTR runs: RandomState(2023), 80/10/10.

    python -m benchmarks.movielens --path ml-latest-small
    python -m benchmarks.movielens --path ml-latest-small --only hiformer --seeds 1 --validation
    python -m benchmarks.movielens --path ml-latest-small --peer PYTHON   # deepctr-torch, too

PYTHON is that of an environment with deepctr-torch; its networks get the same rows, split and ids,
Adam 1e-3, batches of 1024, and the settings of FuxiCTR's runs: embeddings of 16, 400-400, dropout
0.2, decay 1e-4 of the embeddings, training until validation AUC falls twice.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.rankers import show, trained
from surform.bench.measure import save
from surform.cli.fit_config import read_config
from surform.cli.fit_progress import quiet
from surform.data.interactions_module import InteractionsData
from surform.data.splits import SPLITS

__all__ = ["NETWORKS", "main", "movielens_overrides"]

_OTHER = "vocab_sizes: null, multi_vocab_sizes: null, dropout: 0.2"
_CLASSES = {
    "autoint": "{class_path: autoint, init_args: {" + _OTHER + ", deep: [400, 400]}}",
    "dcnv2": "{class_path: dcn_v2, init_args: {" + _OTHER + "}}",
}


def _chosen(table_decay: float, **net: Any) -> list[str]:
    """Overrides of the recipe."""
    given = {"model.table_decay": table_decay} | {f"model.net.{k}": v for k, v in net.items()}
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


# what `python -m benchmarks.ranker_tuning --movielens FOLDER --trials 5 --seeds 2` found best
NETWORKS: dict[str, list[str]] = {
    "hiformer": [],
    "hiformer + deep": _chosen(
        3e-4, dim=64, heads=2, key_rank=16, value_rank=128, norm="none", deep=[400, 400],
        dropout=0.0, embedding_std=0.01,
    ),
    "autoint": _chosen(
        3e-4, dim=32, depth=1, width=64, heads=2, deep=[200, 200], dropout=0.0, embedding_std=0.01
    ),
    "dcnv2": _chosen(3e-4, dim=64, depth=2, deep=[100, 100], dropout=0.2, embedding_std=0.05),
}  # fmt: skip


def movielens_overrides(ranker: str, path: str) -> list[str]:
    """What makes the recipe train this ranker on this folder."""
    other = ["--model.net", _CLASSES[ranker]] if ranker in _CLASSES else []
    return ["--data.path", path, *other]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder with ratings.csv and movies.csv")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--validation", action="store_true", help="show validation figures only")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides, for tuning")
    parser.add_argument("--peer", metavar="PYTHON", help="with deepctr-torch")
    args = parser.parse_args()
    quiet()
    rows = []
    for name in ("autoint", "dcnv2") if args.peer else ():
        found = _peers(name, args.seeds, args.path, args.peer)
        rows.append(_row(f"deepctr-torch {name}", found, args.validation))
        show("MovieLens", rows, tuple(rows[-1]))
    for name in args.only:
        found = [_run(name, seed, args.path, args.set) for seed in range(1, args.seeds + 1)]
        rows.append(_row(name, found, args.validation))
        show("MovieLens", rows, tuple(rows[-1]))
    if list(args.only) == list(NETWORKS) and not args.set and not args.validation:
        save(RESULTS / "movielens.json", rows)


def _run(name: str, seed: int, path: str, more: list[str]) -> dict[str, float]:
    given = movielens_overrides(name, path)
    given += ["--seed_everything", str(seed), "--data.seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*given, *NETWORKS[name], *more]
        return trained("recommenders/movielens", overrides, Path(folder) / "run")


def _peers(name: str, seeds: int, path: str, python: str) -> list[dict[str, float]]:
    """Runs of deepctr-torch on our encoded rows; ids of genres move by one: 0 fills its lists."""
    settings = read_config("recommenders/movielens")["data"]["init_args"] | {"path": path}
    data = InteractionsData(**settings)
    data.setup("fit")
    sizes: Any = data.description().sizes()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npz"
        arrays: Any = {k: v for split in SPLITS for k, v in _arrays(data, split).items()}
        np.savez(file, **arrays)
        request = {
            "arrays": str(file),
            "network": name,
            "dim": 16,
            "decay": 1e-4,
            "vocab": sizes["vocab_sizes"],
            "genres": sizes["multi_vocab_sizes"][0] + 1,
        }
        run = [python, str(Path(__file__).with_name("deepctr_run.py"))]
        return [
            json.loads(
                subprocess.run(
                    [*run, json.dumps(request | {"seed": seed})],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
            for seed in range(1, seeds + 1)
        ]


def _arrays(data: Any, split: str) -> dict[str, np.ndarray]:
    batches = list(data.in_order(split, 4096))
    lengths = np.concatenate([batch.lengths[:, 0].numpy() for batch in batches])
    values = np.concatenate([batch.values.numpy() for batch in batches]) + 1
    genres = np.zeros((len(lengths), 12), np.int64)
    genres[np.arange(12) < lengths[:, None]] = values
    single = np.concatenate([batch.categorical.numpy() for batch in batches])
    label = np.concatenate([batch.labels.numpy() for batch in batches])
    return {f"{split}/single": single, f"{split}/genres": genres, f"{split}/label": label}


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
