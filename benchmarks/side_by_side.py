"""The command line of benchmarks with a row per model: ours and another path, in turns."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from surform.bench.measure import save

__all__ = ["run"]

_COLUMNS = ("forward_ms", "forward_gain", "training_ms", "training_gain", "largest_difference")


def run(
    title: str,
    models: Sequence[str],
    row: Callable[[str, int], dict[str, Any]],
    result: str,
    arguments: list[str] | None,
) -> None:
    """Measure some or all models on one thread, print a table, write results/<result>.json.

    Rows of models that are left out stay as they are; all stand in the order of `models`.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--only", nargs="+", choices=models, metavar="MODEL", help="these alone")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row(model, options.repeats) for model in options.only or models]
    table = Table("model", "size", title=f"{title}, one thread")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for found in rows:
        table.add_row(found["model"], found["size"], *(str(found.get(key, "")) for key in _COLUMNS))
    Console(width=150).print(table)
    path = RESULTS / f"{result}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    kept = {found["model"]: found for found in (*before, *rows)}
    save(path, [kept[model] for model in models if model in kept])
