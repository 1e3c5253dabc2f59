"""Small tables of series for the tests beside this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def hourly_rows(rows: int = 200, columns: int = 2, start: str = "2020-01-01") -> list[list[str]]:
    """A header and rows as text; column c of row r is r + c / 10."""
    times = (np.datetime64(start, "h") + np.arange(rows)).tolist()
    table = [["date", *(f"c{i}" for i in range(columns))]]
    for row, time in enumerate(times):
        table.append(
            [f"{time:%Y-%m-%d %H:%M:%S}", *(f"{row + c / 10:.2f}" for c in range(columns))]
        )
    return table


def write(path: Path, table: list[list[str]], delimiter: str = ",") -> str:
    """Write rows of text; returns the path."""
    path.write_text("".join(delimiter.join(row) + "\n" for row in table))
    return str(path)


def long_rows(lengths: dict[str, int], static: bool = False) -> list[list[str]]:
    """Hourly series of their own lengths, one after the other; `size` is static."""
    table = [["id", "date", "value", *(["size"] if static else [])]]
    for number, (name, rows) in enumerate(lengths.items()):
        for row, line in enumerate(hourly_rows(rows, 1)[1:]):
            value = f"{100 * number + row}"
            table.append([name, line[0], value, *([str(number + 1)] if static else [])])
    return table
