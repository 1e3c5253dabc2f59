"""The metrics table that a logger leaves in a run folder, read and drawn."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surform.reports.plots import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loss_curves", "read_metrics", "series"]

_COUNTERS = ("step", "epoch")


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Rows of a `metrics.csv` (Lightning's CSVLogger): numbers only, empty cells left out."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no metrics table at {path}")
    with Path(path).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: float(v) for k, v in row.items() if k and v and _is_number(v)} for row in rows]


def series(rows: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """(steps, values) of one column; without a step column the row number counts."""
    found = [(row.get("step", i), row[key]) for i, row in enumerate(rows) if key in row]
    return [step for step, _ in found], [value for _, value in found]


def loss_curves(
    metrics: str | os.PathLike[str] | Sequence[Mapping[str, float]],
    keys: Mapping[str, str] | None = None,
    ylabel: str = "loss",
    logy: bool = True,
    spans: Mapping[str, str] | None = None,
) -> Figure:
    """Training and validation losses over steps, on a logarithmic axis where they allow one.

    Args:
        metrics: rows, or the path of a metrics.csv.
        keys: {legend: column}; by default every column whose name holds "loss", training first.
        logy: False keeps the axis linear even so.
        spans: {curve: what its values are of}, for the legend, where the curves differ in that.
    """
    rows = read_metrics(metrics) if isinstance(metrics, str | os.PathLike) else metrics
    chosen = dict(keys or {_legend(key): key for key in _loss_columns(rows)})
    lines = {name: series(rows, key) for name, key in chosen.items()}
    lines = {name: line for name, line in lines.items() if line[0]}
    if not lines:
        raise ValueError(f"the metrics table has none of the columns {sorted(chosen.values())}")
    if spans:
        lines = {f"{n}: {spans[n]}" if n in spans else n: line for n, line in lines.items()}
    positive = all(value > 0 for _, values in lines.values() for value in values)
    return curves(lines, xlabel="optimizer step", ylabel=ylabel, logy=logy and positive)


def _loss_columns(rows: Sequence[Mapping[str, float]]) -> list[str]:
    columns = dict.fromkeys(key for row in rows for key in row if key not in _COUNTERS)
    found = [key for key in columns if "loss" in key and not key.endswith("_epoch")]
    return sorted(found, key=lambda key: (not key.startswith("train"), key))


def _legend(column: str) -> str:
    for prefix, role in (("train", "training"), ("val", "validation"), ("test", "test")):
        if column.startswith(prefix):
            plain = re.split("[/_]", column)[1:2] == ["loss"]  # val_loss, validation/loss/clean
            return role if plain else f"{role} {column}"
    return column


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
