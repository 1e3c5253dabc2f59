"""From a raw table to regular series: order, gaps, missing values, covariates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from surform.data.faults import command_line
from surform.data.series_fill import FILLS, fill_missing, insert_rows
from surform.data.series_raw import RawTable
from surform.data.series_roles import Roles
from surform.data.series_space import Space
from surform.data.series_static import static_covariates
from surform.data.series_step import Step, find_step
from surform.data.series_table import SeriesTable, Span, blocks_of, sorted_by_series
from surform.data.series_times import parse_times, shown_time
from surform.data.series_zones import local_days

__all__ = ["Cleaning", "build_table"]

_FILL_OR_SPLIT = (
    "choose fill and fill_limit, or gaps: split "
    f"({command_line(fill='interpolate', fill_limit=6)}, or {command_line(gaps='split')})"
)


@dataclass(frozen=True)
class Cleaning:
    """What to do about times and missing values.

    Args:
        step: the time between rows; None finds it, "" leaves times out of account.
        time_format: see `parse_times`.
        fill: missing values inside a series: "none", "interpolate" (linearly in time) or
            "previous". Missing rows count as missing values.
        fill_limit: the longest run of missing rows that is filled.
        gaps: what is left missing is an "error", or windows are "split" around it.
    """

    step: str | None = None
    time_format: str | None = None
    fill: Literal["none", "interpolate", "previous"] = "none"
    fill_limit: int = 0
    gaps: Literal["error", "split"] = "error"

    def __post_init__(self) -> None:
        if self.step:
            Step.parse(self.step)
        if self.fill not in FILLS:
            raise ValueError(f"fill={self.fill!r}: choose {', '.join(FILLS)}")
        if self.gaps not in ("error", "split"):
            raise ValueError(f"gaps={self.gaps!r}: choose error or split")
        if (self.fill == "none") != (self.fill_limit == 0) or self.fill_limit < 0:
            raise ValueError(
                f"fill={self.fill!r} with fill_limit={self.fill_limit}: give both, the limit is "
                "the longest run of missing rows that may be filled"
            )


def build_table(raw: RawTable, roles: Roles, cleaning: Cleaning, space: Space) -> SeriesTable:
    """Check, sort and fill a raw table.

    Raises:
        ValueError: times that are unreadable, repeated, out of order or irregular; missing or
            infinite values; static covariates that change. Each names column, row and value.
    """
    if not raw.rows:
        raise ValueError(f"{raw.name} has no rows")
    raw, spans = sorted_by_series(raw, roles, space)
    width = len(roles.variates) + len(roles.known)
    static, names = static_covariates(raw, roles, spans)
    roles = replace(roles, static=names, texts=())
    times, zone = _times(raw, roles, cleaning, spans)
    step, positions = _positions(raw, roles, spans, times, cleaning)
    spans = [_without_future(raw, roles, span) for span in spans]
    values = raw.values[:, :width]
    _refuse_infinite(raw, values, roles)
    place = raw.place
    if cleaning.fill != "none":
        values, times, positions, spans, place = insert_rows(
            values, times, positions, spans, place, step, cleaning.fill_limit, space
        )
        fill_missing(values, spans, positions, cleaning.fill, cleaning.fill_limit)
    table = SeriesTable(
        raw.name, roles, values, spans, times, step, static, raw.units, raw.attributes, place, zone
    )
    table.spans = [_segmented(table, span, positions, cleaning) for span in spans]
    return table


# -- times -----------------------------------------------------------------------------------


def _times(
    raw: RawTable, roles: Roles, cleaning: Cleaning, spans: list[Span]
) -> tuple[np.ndarray | None, str]:
    """Times in UTC, or by a local clock where they are whole days apart there; and its zone."""
    if roles.time is None:
        return None, ""
    where = f"column {roles.time!r} of {raw.name}"
    column, zone = raw.labels[roles.time], raw.zones.get(roles.time, "")
    times = parse_times(column, where, raw.place, cleaning.time_format)
    pieces = [slice(span.start, span.end) for span in spans]
    local = local_days(column, times, pieces, zone, cleaning.time_format)
    return (times, "") if local is None else (local, zone)


def _positions(
    raw: RawTable,
    roles: Roles,
    spans: list[Span],
    times: np.ndarray | None,
    cleaning: Cleaning,
) -> tuple[Step | None, np.ndarray]:
    """The step, and per row how many steps it lies after the first of its series."""
    counted = np.arange(raw.rows)
    if times is None:
        return None, counted
    for span in spans:
        _check_order(raw, roles, span, times)
    if cleaning.step == "":
        return None, counted
    pieces = [times[span.start : span.end] for span in spans]
    step = Step.parse(cleaning.step) if cleaning.step else find_step(pieces)
    if step is None:
        return None, counted
    if step.text and times.dtype.kind != "M":
        raise ValueError(
            f"step {step.text!r}, but column {roles.time!r} of {raw.name} holds numbers: give "
            "time_format (s, ms, %Y%m%d, ...), or leave step out"
        )
    positions = np.empty(raw.rows, np.int64)
    for span, piece in zip(spans, pieces, strict=True):
        found, between = step.positions(piece)
        if between.any():
            row = span.start + int(np.argmax(between))
            raise ValueError(
                f"{raw.name}, {raw.place(row)}: {shown_time(times[row])} does not lie on the step "
                f"of {step.text or f'{step.number:g}'} that begins at {shown_time(piece[0])}; "
                "valid: times a whole number of steps apart, another step, or step: '' to ignore "
                f"times ({command_line(step='')})"
            )
        positions[span.start : span.end] = found
        if cleaning.gaps == "error" and cleaning.fill == "none":
            _refuse_gap(raw, span, times, found, step)
    return step, positions


def _check_order(raw: RawTable, roles: Roles, span: Span, times: np.ndarray) -> None:
    gaps = np.diff(times[span.start : span.end])
    wrong = gaps <= np.zeros((), gaps.dtype)
    if not wrong.any():
        return
    row = span.start + int(np.argmax(wrong)) + 1
    now, before = shown_time(times[row]), shown_time(times[row - 1])
    series = f" in series {span.id!r}" if roles.id is not None else ""
    hint = "" if roles.id is not None else "; several series in one table need id"
    if times[row] == times[row - 1]:
        raise ValueError(
            f"{raw.name}, {raw.place(row)}: the time {now} appears twice{series}{hint}"
        )
    raise ValueError(
        f"{raw.name}, {raw.place(row)}: {now} comes after {before}{series}: sort the rows by time"
        + hint
    )


def _refuse_gap(
    raw: RawTable, span: Span, times: np.ndarray, positions: np.ndarray, step: Step
) -> None:
    gaps = np.diff(positions)
    if (gaps <= 1).all():
        return
    row = span.start + int(np.argmax(gaps > 1)) + 1
    missing = int(gaps[row - span.start - 1]) - 1
    total = int((gaps - 1).sum())
    more = f" ({total} in all)" if total > missing else ""
    raise ValueError(
        f"{raw.name}: {missing} rows{more} are missing between {shown_time(times[row - 1])} and "
        f"{shown_time(times[row])} ({raw.place(row)}, step {step.text or f'{step.number:g}'}): "
        f"{_FILL_OR_SPLIT}"
    )


# -- values ----------------------------------------------------------------------------------


def _without_future(raw: RawTable, roles: Roles, span: Span) -> Span:
    """Rows at the end that hold known covariates alone belong to the future."""
    if not roles.known:
        return span
    stop = span.end
    variates = len(roles.variates)
    while stop > span.start and np.isnan(raw.values[stop - 1, :variates]).all():
        stop -= 1
    if stop == span.start:
        return span  # a series of nothing but missing values: the check of values names it
    return replace(span, stop=stop)


def _refuse_infinite(raw: RawTable, values: np.ndarray, roles: Roles) -> None:
    for block in blocks_of(*values.shape):
        infinite = np.isinf(values[block])
        if infinite.any():
            row, column = (int(i) for i in np.argwhere(infinite)[0])
            raise ValueError(
                f"{raw.name}, {raw.place(block.start + row)}, column {roles.numbers[column]!r}: "
                f"{values[block.start + row, column]} is infinite"
                + (" (float32 ends at 3.4e38)" if values.dtype == np.float32 else "")
            )


def _segmented(table: SeriesTable, span: Span, positions: np.ndarray, cleaning: Cleaning) -> Span:
    """The span with the pieces in which nothing is missing."""
    _refuse_empty_columns(table, span)
    own = positions[span.start : span.stop]
    starts_anew = np.zeros(span.rows, bool)
    starts_anew[1:] = np.diff(own) > 1
    if starts_anew.any() and cleaning.gaps == "error":
        row = span.start + int(np.argmax(starts_anew))
        assert table.times is not None
        raise ValueError(
            f"{table.name}: more than fill_limit={cleaning.fill_limit} rows are missing before "
            f"{shown_time(table.times[row])} ({table.place(row)}): raise fill_limit, or choose "
            f"gaps: split ({command_line(gaps='split')})"
        )
    missing = np.zeros(span.rows, bool)
    for block in blocks_of(span.rows, table.values.shape[1], span.start):
        bad = np.isnan(table.values[block])
        if bad.any() and cleaning.gaps == "error":
            row, column = (int(i) for i in np.argwhere(bad)[0])
            _refuse_missing(table, block.start + row, column, cleaning)
        missing[block.start - span.start : block.stop - span.start] = bad.any(1)
    return replace(span, segments=_segments(span.start, missing, starts_anew))


def _segments(
    first: int, missing: np.ndarray, starts_anew: np.ndarray
) -> tuple[tuple[int, int], ...]:
    edges = missing | starts_anew
    edges[1:] |= missing[:-1]
    edges[0] = True
    starts = np.flatnonzero(edges)
    ends = np.append(starts[1:], len(missing))
    return tuple(
        (first + int(a), first + int(b))
        for a, b in zip(starts, ends, strict=True)
        if not missing[a]
    )


def _refuse_empty_columns(table: SeriesTable, span: Span) -> None:
    """ValueError for a column without a single value, which no filling helps."""
    suspects = np.flatnonzero(np.isnan(table.values[span.start]))
    for column in suspects:
        if np.isnan(table.values[span.start : span.stop, column]).all():
            raise ValueError(
                f"column {table.columns[column]!r} of {table.where(span)} holds no value at all: "
                "leave it out of variates"
            )


def _refuse_missing(table: SeriesTable, row: int, column: int, cleaning: Cleaning) -> None:
    when = f" ({shown_time(table.times[row])})" if table.times is not None else ""
    hint = (
        _FILL_OR_SPLIT
        if cleaning.fill == "none"
        else f"more than fill_limit={cleaning.fill_limit} in a row, or at the edge: raise it, or "
        f"choose gaps: split ({command_line(gaps='split')})"
    )
    raise ValueError(
        f"{table.name}, {table.place(row)}{when}, column {table.columns[column]!r}: a value is "
        f"missing; {hint}"
    )
