"""Rankers trained alike on logs of clicks whose true probabilities are known.

Each recipe trains on the log with planted heterogeneous interactions and on the one with plain
ones, with the same rows and batches; settings and epochs are what validation chose for each among
as many trials (benchmarks.ranker_tuning). The best weights on validation rows are tested.
`attained` is (AUC - 0.5) / (AUC of the true probabilities - 0.5) on the test rows, `closed` the
share of the gap between the best baseline and the true probabilities that a ranker closes. Seconds
are CPU time of training. Rankers that are left out keep their rows in the file of results.

    python -m benchmarks.rankers --out runs/rankers
    python -m benchmarks.rankers --only hiformer dcnv2 --interactions plain
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import save
from surform.cli.fit_config import read_config
from surform.cli.fit_progress import quiet
from surform.cli.lightning_cli import resolve, train

__all__ = ["closed_gap", "fitted", "log_overrides", "main", "show", "trained"]

KEPT = RESULTS / "rankers.json"
RECIPES = ("hiformer", "autoint", "dcnv2", "dlrm")
INTERACTIONS = ("heterogeneous", "plain")


def fitted(recipe: str, overrides: list[str], folder: Path) -> tuple[Any, dict[str, float]]:
    """Train a recipe; the trainer, and the best validation figure, parameters and CPU seconds."""
    config = resolve(read_config(recipe), overrides)
    begun = time.process_time()
    trainer = train(config, folder, report=False, override=True)
    seconds = time.process_time() - begun
    module: Any = trainer.lightning_module
    count = sum(weight.numel() for weight in module.surrogate.net.parameters())
    best = trainer.checkpoint_callbacks[0].best_value  # type: ignore[attr-defined]
    return trainer, {"validation": float(best), "parameters": count, "seconds": seconds}


def trained(recipe: str, overrides: list[str], folder: Path) -> dict[str, float]:
    """Train a recipe, test its best weights; figures of the test split and those of `fitted`."""
    trainer, figures = fitted(recipe, overrides, folder)
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    found = trainer.test(trainer.lightning_module, datamodule=data, verbose=False)[0]
    return {name.split("/")[1]: float(value) for name, value in found.items()} | figures


def log_overrides(
    ranker: str, interactions: str, samples: int | None, folder: Path
) -> tuple[str, list[str]]:
    """A ranker's recipe, and what makes it read a generated log of this kind in `folder`."""
    recipe = f"recommenders/{ranker}-generated"
    given = dict(read_config(recipe)["data"]["init_args"]["generate"])
    given |= {"interactions": interactions} | ({"samples": samples} if samples else {})
    log = folder / f"{interactions}-{given['samples']}.parquet"
    return recipe, ["--data.path", str(log), "--data.generate", str(given)]


def closed_gap(rows: list[dict[str, Any]]) -> None:
    """Add to each row what it closes of the gap from the best baseline to what is attainable."""
    for row in rows:
        rivals = [
            other["auc"]
            for other in rows
            if other["interactions"] == row["interactions"] and other["ranker"] != "hiformer"
        ]
        if rivals:
            best = max(rivals)
            row["closed"] = (row["auc"] - best) / (row["bayes_auc"] - best)


def show(title: str, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for name in names:
        table.add_column(name)
    for row in rows:
        cells = [row.get(name, "") for name in names]
        table.add_row(*(f"{c:.4f}" if isinstance(c, float) else str(c) for c in cells))
    Console(width=15 * len(names)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rankers"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--interactions", nargs="+", default=INTERACTIONS, choices=INTERACTIONS)
    parser.add_argument("--samples", type=int, help="rows of the log, instead of the recipe's")
    args = parser.parse_args()
    quiet()
    rows: list[dict[str, Any]] = []
    for kind in args.interactions:
        for name in args.only:
            recipe, overrides = log_overrides(name, kind, args.samples, args.out)
            figures = trained(recipe, overrides, args.out / f"{name}-{kind}-{time.time_ns()}")
            rows.append({"interactions": kind, "ranker": name, **figures})
            show("so far", rows[-1:], ("interactions", "ranker", "auc", "attained", "seconds"))
    if args.samples is None:
        measured = {(row["interactions"], row["ranker"]) for row in rows}
        rows += [r for r in _kept() if (r["interactions"], r["ranker"]) not in measured]
        rows.sort(key=lambda row: (row["interactions"], RECIPES.index(row["ranker"])))
    closed_gap(rows)
    show(
        "Rankers on generated logs, test rows",
        rows,
        (
            "interactions", "ranker", "validation", "auc", "bayes_auc", "attained", "closed",
            "log_loss", "bayes_log_loss", "parameters", "seconds",
        ),
    )  # fmt: skip
    if args.samples is None:
        save(KEPT, rows)


def _kept() -> list[dict[str, Any]]:
    """What earlier runs found of other rankers and logs."""
    return json.loads(KEPT.read_text(encoding="utf-8"))["rows"] if KEPT.is_file() else []


if __name__ == "__main__":
    main()
