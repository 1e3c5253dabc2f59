"""One or several regular series in memory, with every fault of the raw table already met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from surform.data.series_raw import RawTable
from surform.data.series_roles import Roles
from surform.data.series_space import Space, take_rows
from surform.data.series_step import Step

__all__ = ["SeriesTable", "Span", "blocks_of", "sorted_by_series"]

_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True)
class Span:
    """The rows of one series: `start` to `stop` with variates, up to `end` with known covariates.

    `breaks` are rows (from `start` on) that do not continue the row before them; `segments` gives
    the pieces between them that hold no missing value.
    """

    id: str
    start: int
    stop: int
    end: int
    segments: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows with variates."""
        return self.stop - self.start


@dataclass
class SeriesTable:
    """Series laid end to end.

    Args:
        name: of the file or frame, for messages.
        roles: which columns are what.
        values: `(rows, V + K)` or wider: variates, then known covariates.
        spans: the series.
        times: `(rows,)` datetime64[us] or numbers; None without a time column.
        step: None where no two rows follow each other, or without times.
        static: `(series, S)` float64.
        units: of the columns, where the source has them.
        attributes: provenance, where the source has it.
        place: where a row stands in the source.
        zone: the time zone whose clock shows `times`; "" of UTC, and where none is named.
    """

    name: str
    roles: Roles
    values: np.ndarray
    spans: list[Span]
    times: np.ndarray | None
    step: Step | None
    static: np.ndarray
    units: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    place: Callable[[int], str] = str
    zone: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `values`."""
        return (*self.roles.variates, *self.roles.known)

    def where(self, span: Span) -> str:
        """The name of a series for messages."""
        return self.name if self.roles.id is None else f"series {span.id!r} of {self.name}"

    @property
    def dates(self) -> bool:
        """Whether rows have timestamps, and not numbers or nothing."""
        return self.times is not None and self.times.dtype.kind == "M"


def blocks_of(rows: int, columns: int, start: int = 0) -> list[slice]:
    """Slices over rows that hold about 2 MB of float64 each."""
    size = max(1, _BLOCK_VALUES // max(1, columns))
    return [slice(a, min(a + size, start + rows)) for a in range(start, start + rows, size)]


def sorted_by_series(raw: RawTable, roles: Roles, space: Space) -> tuple[RawTable, list[Span]]:
    """The table with the rows of each series together, series in the order of their first row."""
    if roles.id is None:
        return raw, [Span("", 0, raw.rows, raw.rows)]
    names = _names(raw, roles.id)
    first_rows: dict[str, int] = {}
    codes = np.fromiter(
        (first_rows.setdefault(name, len(first_rows)) for name in names), np.int64, raw.rows
    )
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        place = raw.place
        raw = replace(
            raw,
            values=take_rows(raw.values, order, space),
            labels={name: column[order] for name, column in raw.labels.items()},
            place=lambda row: place(int(order[row])),
        )
        codes = codes[order]
    ends = np.cumsum(np.bincount(codes, minlength=len(first_rows))).tolist()
    starts = [0, *ends[:-1]]
    return raw, [Span(name, a, b, b) for name, a, b in zip(first_rows, starts, ends, strict=True)]


def _names(raw: RawTable, column: str) -> list[str]:
    values = raw.labels[column]
    names = [str(v).strip() if v is not None and v == v else "" for v in values.tolist()]
    if "" in names:
        row = names.index("")
        raise ValueError(f"{raw.name}, {raw.place(row)}: the id column {column!r} is empty")
    return names
