"""Small click logs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

__all__ = ["CITIES", "TAGS", "log", "write"]

CITIES = ("wien", "linz", "graz", "bern")
TAGS = ("war", "noir", "drama", "comedy")


def log(rows: int = 200, seed: int = 0, first: int = 0) -> dict[str, Any]:
    """Columns of a click log: 20 users, 4 cities, lists of tags, prices, times that rise."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, rows)
    return {
        "click": random.integers(0, 2, rows).tolist(),
        "user_id": random.integers(100, 120, rows).tolist(),
        "city": [CITIES[n] for n in random.integers(0, 4, rows)],
        "tags": [[TAGS[n] for n in random.integers(0, 4, count)] for count in counts],
        "price": np.round(random.exponential(10, rows), 3).tolist(),
        "timestamp": (first + np.arange(rows)).tolist(),
    }


def write(path: Path, columns: dict[str, Any], group: int = 64, separator: str = "|") -> str:
    """Write columns to CSV or TSV (lists joined by `separator`) or Parquet."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(columns), path, row_group_size=group)
        return str(path)
    flat = {
        name: [separator.join(v) if isinstance(v, list) else v for v in values]
        for name, values in columns.items()
    }
    mark = "\t" if path.suffix == ".tsv" else ","
    options = pa.csv.WriteOptions(delimiter=mark)
    pa.csv.write_csv(pa.table(flat), path, options)
    return str(path)
