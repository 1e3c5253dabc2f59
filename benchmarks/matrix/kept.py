"""Gains out of kept measurements, benchmarks/results/*.json."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from benchmarks import RESULTS

__all__ = ["Source", "kept_rows", "span"]


class Source(NamedTuple):
    """Where a gain is."""

    results: str  # benchmarks/results/<results>.json
    column: str
    rows: str = ""  # pattern that the words of a row have
    note: str = ""


def span(source: Source) -> str:
    """The least and the largest gain of the rows, such as "1.1x to 1.3x, training"."""
    gains = [
        row[source.column]
        for row in kept_rows(source.results)
        if isinstance(row.get(source.column), int | float) and _matches(row, source.rows)
    ]
    if not gains:
        return "not measured"
    ends = dict.fromkeys(f"{end:.2g}x" for end in (min(gains), max(gains)))
    return ", ".join(filter(None, [" to ".join(ends), source.note]))


def kept_rows(results: str) -> list[dict[str, Any]]:
    """Rows of one file; none where there is no such file."""
    path = RESULTS / f"{results}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def _matches(row: dict[str, Any], pattern: str) -> bool:
    words = " ".join(value for value in row.values() if isinstance(value, str))
    return bool(re.search(pattern, f"{words} " if pattern.endswith(" ") else words))
