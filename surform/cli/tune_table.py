"""What a tuning leaves for its user: best.yaml, trials.csv, and the lines at the end."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surform.cli.tune_study import Row
from surform.data.atomic import replacing

__all__ = [
    "best_rows",
    "brief",
    "counted",
    "listing",
    "named",
    "summary",
    "write_best",
    "write_trials",
]


def named(values: Mapping[str, Any]) -> str:
    """Values of options, in one line."""
    return ", ".join(f"{name} {_short(value)}" for name, value in brief(values).items())


def brief(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the last words of their names, where these differ."""
    last = Counter(key.rpartition(".")[2] for key in values)
    names = (key.rpartition(".")[2] for key in values)
    return {
        name if last[name] == 1 else key: value
        for (key, value), name in zip(values.items(), names, strict=True)
    }


def counted(trials: int) -> str:
    """A number of trials, in words."""
    return "1 trial" if trials == 1 else f"{trials} trials"


def summary(rows: Sequence[Row]) -> str:
    """How many trials ended how."""
    count = Counter(row.state for row in rows)
    states = ("completed", "pruned", "failed")
    return ", ".join(f"{count[state]} {state}" for state in states if count[state])


def best_rows(rows: Sequence[Row], greater: bool, most: int = 5) -> list[Row]:
    """The best completed trials, the best one first."""
    completed = [row for row in rows if row.state == "completed"]
    return sorted(completed, key=lambda row: -row.figure if greater else row.figure)[:most]


def listing(rows: Sequence[Row], figure: str) -> str:
    """Trials as an aligned table; `figure` heads the column of what they reached."""
    keys = list(rows[0].values)
    lines = [["trial", figure, "seconds", *brief(rows[0].values)]]
    for row in rows:
        values = [_short(row.values[key]) for key in keys]
        lines.append([str(row.place), f"{row.figure:.6g}", f"{row.seconds:.0f}", *values])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def write_trials(file: Path, rows: Sequence[Row]) -> None:
    """All trials as CSV, one row each."""
    keys = list(rows[0].values) if rows else []
    with replacing(file) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trial", "state", "figure", "seconds", *keys, "reason"])
        for row in rows:
            numbers = ["" if math.isnan(n) else n for n in (row.figure, row.seconds)]
            values = [row.values[key] for key in keys]
            writer.writerow([row.place, row.state, *numbers, *values, row.reason])


def write_best(file: Path, config: str, remarks: Sequence[str]) -> None:
    """A configuration that `surform fit` takes, below comments."""
    header = "".join(f"# {line}\n" for line in remarks)
    with replacing(file) as partial:
        partial.write_text(header + config, encoding="utf-8")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
