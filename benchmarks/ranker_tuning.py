"""Random search of the settings of rankers, alike for each, by validation AUC.

The first trial of each ranker is its recipe as it stands, the others draw from its space: the
learning rates, decays and shares of dropout are the same for all. No test row is looked at. What
was found best stands in the recipes of the generated log, tested by `python -m benchmarks.rankers`,
and in `NETWORKS` of benchmarks.movielens.

    python -m benchmarks.ranker_tuning --out runs/rankers
    python -m benchmarks.ranker_tuning --only dcnv2 --trials 4
    python -m benchmarks.ranker_tuning --movielens ml-latest-small --seeds 2
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.movielens import movielens_overrides
from benchmarks.rankers import RECIPES, fitted, log_overrides
from surform.bench.measure import save
from surform.cli.fit_progress import quiet

__all__ = ["GENERATED", "MOVIELENS", "draw", "main"]

Space = Mapping[str, list[Any]]

_DEEP = {"model.net.deep": [[], [100, 100], [200, 200], [400, 400]]}
_LOG = {
    "model.net.dim": [8, 16],
    "model.net.dropout": [0.0, 0.0, 0.1, 0.2],
    "model.net.embedding_std": [0.1, 0.3, 0.6],
    "model.optimizer.lr": [2e-3, 4e-3, 8e-3, 16e-3],
    "model.optimizer.weight_decay": [1e-5, 1e-3, 1e-2],
    "trainer.max_epochs": [2, 4],
}
GENERATED: dict[str, Space] = {
    "hiformer": _LOG
    | {
        "model.net.heads": [2, 4],
        "model.net.key_dim": [4, 8],
        "model.net.value_dim": [4, 8],
        "model.net.key_rank": [16, 32],
        "model.net.value_rank": [16, 32],
        "model.net.norm": ["post", "pre", "none"],
        "trainer.max_epochs": [4, 8],  # of which each costs a quarter of AutoInt's
    },
    "autoint": _LOG
    | _DEEP
    | {
        "model.net.depth": [1, 2, 3],
        "model.net.width": [32, 64],
        "model.net.heads": [2, 4],
        "model.net.layer_norm": [False, True],
    },
    "dcnv2": _LOG | _DEEP | {"model.net.depth": [1, 2, 3, 4]},
    "dlrm": _LOG | {"model.net.top": [[100, 100], [200, 200], [400, 400]]},
}

_RATINGS = {
    "model.net.dim": [16, 32, 64],
    "model.net.dropout": [0.0, 0.2, 0.4],
    "model.net.embedding_std": [1e-3, 1e-2, 5e-2],
    "model.optimizer.lr": [5e-4, 1e-3, 2e-3],
    "model.table_decay": [3e-5, 1e-4, 3e-4],
}
MOVIELENS: dict[str, Space] = {
    "hiformer": _RATINGS
    | _DEEP
    | {
        "model.net.heads": [2, 4],
        "model.net.key_rank": [16, 32, 64],
        "model.net.value_rank": [32, 64, 128],
        "model.net.norm": ["post", "pre", "none"],
    },
    "autoint": _RATINGS
    | _DEEP
    | {"model.net.depth": [1, 2, 3], "model.net.width": [32, 64], "model.net.heads": [2, 4]},
    "dcnv2": _RATINGS | _DEEP | {"model.net.depth": [1, 2, 3]},
}


def draw(ranker: str, space: Space, trial: int) -> list[str]:
    """Overrides of a trial; none for trial 0."""
    if not trial:
        return []
    chance = random.Random(f"{ranker} {trial}")
    drawn = {key: chance.choice(values) for key, values in space.items()}
    return [part for key, value in drawn.items() for part in (f"--{key}", str(value))]


def search(
    ranker: str, recipe: str, given: list[str], space: Space, trials: int, seeds: int, out: Path
) -> list[dict[str, Any]]:
    """Trials of a ranker, each with the mean validation AUC of its seeds; printed as they end."""
    rows = []
    for trial in range(trials):
        drawn = draw(ranker, space, trial)
        found = []
        for seed in range(seeds):
            overrides = [*given, "--seed_everything", str(seed), *drawn]
            folder = out / f"{ranker}-trial-{time.time_ns()}"
            found.append(fitted(recipe, overrides, folder)[1])
        row = {key: sum(each[key] for each in found) / seeds for key in found[0]}
        rows.append({"ranker": ranker, "trial": trial, **row, "overrides": " ".join(drawn)})
        print("{ranker} {trial}: {validation:.4f} {seconds:.0f} s {overrides}".format(**rows[-1]))
    best = max(rows, key=lambda row: row["validation"])
    print(f"best {ranker}: {best['validation']:.4f} {best['overrides'] or 'as the recipe'}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rankers"), help="folder of the runs")
    parser.add_argument("--movielens", metavar="FOLDER", help="search on it, not on the log")
    parser.add_argument("--only", nargs="+", choices=RECIPES)
    parser.add_argument("--trials", type=int, default=12, help="per ranker")
    parser.add_argument("--seeds", type=int, default=1, help="runs per trial")
    args = parser.parse_args()
    quiet()
    spaces = MOVIELENS if args.movielens else GENERATED
    rows = []
    for name in args.only or spaces:
        if args.movielens:
            recipe, given = "recommenders/movielens", movielens_overrides(name, args.movielens)
        else:
            recipe, given = log_overrides(name, "heterogeneous", None, args.out)
        rows += search(name, recipe, given, spaces[name], args.trials, args.seeds, args.out)
    kept = RESULTS / ("ranker-tuning-movielens.json" if args.movielens else "ranker-tuning.json")
    others = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.is_file() else []
    searched = {row["ranker"] for row in rows}
    save(kept, [row for row in others if row["ranker"] not in searched] + rows)


if __name__ == "__main__":
    main()
