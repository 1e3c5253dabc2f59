"""Missing rows and values that are filled because the user asked for it, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from surform.data.series_space import Space, take_rows
from surform.data.series_step import Step
from surform.data.series_table import Span

__all__ = ["FILLS", "fill_missing", "insert_rows"]

FILLS = ("none", "interpolate", "previous")


def insert_rows(
    values: np.ndarray,
    times: np.ndarray | None,
    positions: np.ndarray,
    spans: list[Span],
    place: Callable[[int], str],
    step: Step | None,
    limit: int,
    space: Space,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, list[Span], Callable[[int], str]]:
    """Rows of NaN where at most `limit` rows are missing inside a series; longer gaps stay."""
    if times is None or step is None:
        return values, times, positions, spans, place
    extra = np.zeros(len(values), np.int64)  # rows to put before each row
    for span in spans:
        gaps = np.diff(positions[span.start : span.end]) - 1
        extra[span.start + 1 : span.end] = np.where(gaps <= limit, gaps, 0)
    if not extra.any():
        return values, times, positions, spans, place
    new_rows = np.arange(len(values)) + np.cumsum(extra)
    total = int(new_rows[-1]) + 1
    source = np.searchsorted(new_rows, np.arange(total))  # the old row at or after each new one
    before = new_rows[source] - np.arange(total)
    wider = take_rows(values, np.where(before, -1, source), space)
    new_positions = positions[source] - before
    new_times = times[source].copy()
    for row in np.flatnonzero(before):
        last = times[source[row] - 1 : source[row]]
        ahead = int(extra[source[row]] - before[row] + 1)
        new_times[row] = step.after(last, ahead)[0, -1]

    def placed(row: int) -> str:
        at = place(int(source[row]))
        return at if not before[row] else f"a missing row before {at}"

    # a span ends after its last row, so that no inserted row of the next series comes before it
    spans = [
        replace(
            span,
            start=int(new_rows[span.start]),
            stop=int(new_rows[span.stop - 1]) + 1,
            end=int(new_rows[span.end - 1]) + 1,
        )
        for span in spans
    ]
    return wider, new_times, new_positions, spans, placed


def fill_missing(
    values: np.ndarray, spans: list[Span], positions: np.ndarray, fill: str, limit: int
) -> None:
    """Fill runs of at most `limit` missing values in place, never at an edge or across a gap."""
    for span in spans:
        jumps = np.flatnonzero(np.diff(positions[span.start : span.stop]) > 1) + 1
        edges = [span.start, *(span.start + jumps).tolist(), span.stop]
        for start, stop in pairwise(edges):
            for column in range(values.shape[1]):
                series = values[start:stop, column]
                missing = np.isnan(series)
                if missing.any():
                    _fill(series, missing, fill, limit)


def _fill(series: np.ndarray, missing: np.ndarray, fill: str, limit: int) -> None:
    edges = np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > limit or start == 0:
            continue
        if fill == "previous":
            series[start:end] = series[start - 1]
        elif end < len(series):
            weight = np.arange(1, end - start + 1) / (end - start + 1)
            series[start:end] = series[start - 1] * (1 - weight) + series[end] * weight
