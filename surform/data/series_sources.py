"""Open whatever holds a table of series: a file by its name, or an object by its type."""

from __future__ import annotations

import os
from typing import Any

from surform.data.series_csv import CsvTable
from surform.data.series_raw import TableReader

__all__ = ["open_table"]

_TEXT = (".csv", ".tsv", ".txt")
_PACKED = (".gz", ".bz2", ".xz")


def open_table(
    source: Any, delimiter: str | None = None, header: bool | None = None
) -> TableReader:
    """A reader of `source`, which is looked at and not yet read.

    Args:
        source: path or URL of a CSV file (`.csv`, `.tsv`, `.txt`, also `.gz`, `.bz2`, `.xz`).
        delimiter: of text files; None finds it.
        header: whether a text file begins with column names; None finds out.

    Raises:
        ValueError: an unknown kind of source.
        OSError: a file that is missing, empty or unreadable.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, str):
        stem, suffix = os.path.splitext(source.lower())
        if suffix in _PACKED:
            suffix = os.path.splitext(stem)[1]
        if suffix in _TEXT:
            return CsvTable(source, delimiter, header)
    raise ValueError(f"cannot read series from {str(source)[:80]!r}: valid: .csv, .tsv, .txt")
