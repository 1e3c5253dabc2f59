"""Results of solvers as tables: one row per time, one column per variable, CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surform.data.atomic import replacing
from surform.data.extras import require_extra
from surform.data.series_space import Space
from surform.data.series_xarray import XarrayTable

__all__ = ["TABLES", "note_of", "table_attributes", "write_table"]

TABLES = (".csv", ".parquet")
_ROWS = 1 << 14
_PREFIX = "surform:"


def write_table(
    dataset: xr.Dataset, path: Path, final: Path, attributes: Mapping[str, Any]
) -> None:
    """Write `(sample, time, ...)` as a table, in long format where there are several samples.

    Parquet carries the attributes in its metadata; those of a CSV go to `<name>.csv.json`.

    Args:
        dataset: of a solver.
        path: where to write.
        final: the name that the file will get; its suffix decides.
        attributes: how the data were made.
    """
    table = XarrayTable(dataset, str(final), "time", ordered=False)  # Zarr lists them in any order
    labels = [name for name in (table.defaults.get("id"), "time") if name is not None]
    names = [
        name for name, kind in table.kinds().items() if name not in labels and kind == "number"
    ]
    raw = table.read(names, labels, Space(np.dtype(next(iter(dataset.data_vars.values())).dtype)))
    columns = {name: raw.labels[name] for name in labels}
    if final.suffix == ".parquet":
        _write_parquet(columns, names, raw.values, path, attributes)
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*labels, *names])
        for first in range(0, raw.rows, _ROWS):
            rows = slice(first, first + _ROWS)
            heads = zip(*(_shown(column[rows]) for column in columns.values()), strict=True)
            # the shortest digits that give the same value again
            body = raw.values[rows].astype(str).tolist()
            writer.writerows([*head, *row] for head, row in zip(heads, body, strict=True))
    with replacing(note_of(final)) as note:
        note.write_text(json.dumps(dict(attributes), indent=2) + "\n")


def _shown(column: np.ndarray) -> list[Any]:
    """Dates in ISO form; other values as they are."""
    if column.dtype.kind != "M":
        return column.tolist()
    return [text.replace("T", " ") for text in column.astype("datetime64[s]").astype(str).tolist()]


def note_of(path: Path) -> Path:
    """The file beside a CSV that says how it was made."""
    return path.with_name(f"{path.name}.json")


def table_attributes(path: Path) -> dict[str, Any]:
    """How a table was made; nothing when no solver made it."""
    try:
        if path.suffix == ".csv":
            return json.loads(note_of(path).read_text())
        parquet = require_extra("pyarrow.parquet", "tables", f"reading {path}")
        stored = parquet.read_schema(path).metadata or {}
        return json.loads(stored[f"{_PREFIX}attributes".encode()])
    except (OSError, KeyError, ValueError):
        return {}


def _write_parquet(
    columns: Mapping[str, np.ndarray],
    names: list[str],
    values: np.ndarray,
    path: Path,
    attributes: Mapping[str, Any],
) -> None:
    arrow = require_extra("pyarrow", "tables", "writing .parquet")
    parquet = require_extra("pyarrow.parquet", "tables", "writing .parquet")
    arrays = {name: arrow.array(column) for name, column in columns.items()}
    arrays |= {name: arrow.array(values[:, i]) for i, name in enumerate(names)}
    notes = {f"{_PREFIX}{name}": str(value) for name, value in attributes.items()}
    notes[f"{_PREFIX}attributes"] = json.dumps(dict(attributes))
    parquet.write_table(
        arrow.table(arrays).replace_schema_metadata(notes), path, row_group_size=_ROWS
    )
