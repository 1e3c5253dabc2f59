"""What a table of series holds, at a glance, before any choice about gaps has been made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surform.data.series_sources import open_table
from surform.data.series_space import Space
from surform.data.series_step import find_step
from surform.data.series_times import parse_times

__all__ = ["Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """Number of rows, lines on times, and per column: name, kind, missing, mean, least, largest."""

    rows: int
    lines: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]


def profile(source: Any) -> Profile:
    """Read a table as `open_table` does and count; the errors are those of reading."""
    reader = open_table(source)
    kinds = reader.kinds()
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    times = [name for name, kind in kinds.items() if kind == "time"]
    raw = reader.read(numbers, times, Space(np.dtype(np.float64)))
    rows = []
    for name, kind in kinds.items():
        if name not in numbers:
            rows.append((name, kind, "", "", "", ""))
            continue
        values = raw.values[:, numbers.index(name)]
        known = values[~np.isnan(values)]
        cells = [f"{f(known):.4g}" for f in (np.mean, np.min, np.max)] if len(known) else [""] * 3
        rows.append((name, kind, str(len(values) - len(known)), *cells))
    lines = tuple(_span(raw, name) for name in times)
    return Profile(raw.rows, lines, tuple(rows))


def _span(raw: Any, name: str) -> str:
    """From when to when, and how far apart."""
    found = parse_times(raw.labels[name], f"column {name!r} of {raw.name}", raw.place)
    first, last = (_text(time) for time in (found.min(), found.max()))
    step = find_step([found])
    apart = ""
    if step is not None:
        apart = f", mostly {step.text or f'{step.number:g}'} apart"
        gaps = np.diff(step.positions(found)[0])
        if (gaps > 1).any():
            apart += f", {int((gaps[gaps > 1] - 1).sum())} missing between"
    return f"{name}: {first} to {last}{apart}"


def _text(time: Any) -> str:
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]")).replace("T", " ")
    return f"{time:g}"
