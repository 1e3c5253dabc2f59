"""Windows over series: views of one table, gathered a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from surform.data.series_batch import SeriesBatch
from surform.data.series_table import SeriesTable, Span

__all__ = ["SeriesWindows", "window_starts"]


def window_starts(span: Span, rows: tuple[int, int], steps: int) -> np.ndarray:
    """First rows (in the table) of all windows of `steps` rows inside some rows of a series.

    Args:
        span: the series; windows never cross what it lacks.
        rows: first row and end, counted from the start of the series.
        steps: rows in a window.
    """
    first, end = span.start + rows[0], span.start + rows[1]
    pieces = [(max(a, first), min(b, end)) for a, b in span.segments]
    starts = [np.arange(a, b - steps + 1) for a, b in pieces if b - a >= steps]
    return np.concatenate(starts) if starts else np.empty(0, np.int64)


class SeriesWindows(Dataset[SeriesBatch]):
    """The windows of one split, in order: series by series, start by start.

    Indexing with a list of window numbers gives a `SeriesBatch` in physical units. All windows are
    views of the table: a batch copies each of its windows once, in one call.

    Args:
        table: the series.
        starts: first row of each window.
        lookback: steps given.
        horizon: steps forecast.
        marks: `(rows, M)` calendar features of the table.
        scale: `(series, V_out)` of the batches; None without.
        statistics: `(series, 2, V)` of the batches; None without.
    """

    def __init__(
        self,
        table: SeriesTable,
        starts: np.ndarray,
        lookback: int,
        horizon: int,
        marks: Tensor | None = None,
        scale: Tensor | None = None,
        statistics: Tensor | None = None,
    ) -> None:
        self.table, self.starts = table, starts.astype(np.int64)
        self.lookback, self.horizon = lookback, horizon
        self._variates = len(table.roles.variates)
        self._targets = _columns([table.roles.variates.index(n) for n in table.roles.targets])
        self._values = windowed(torch.from_numpy(table.values), lookback + horizon)
        self._marks = None if marks is None else windowed(marks, lookback + horizon)
        self._span_starts = np.array([span.start for span in table.spans])
        self._static, self._scale, self._statistics = _static(table), scale, statistics

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, windows: int | Sequence[int]) -> SeriesBatch:
        index = np.atleast_1d(np.asarray(windows, dtype=np.int64))
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"windows are numbered 0 to {len(self) - 1}, got {windows}")
        rows = torch.from_numpy(self.starts[index])
        values = self._values.index_select(0, rows)
        variates, steps = self._variates, self.lookback
        marks = None if self._marks is None else self._marks.index_select(0, rows)
        number = torch.from_numpy(self.series(index))
        return SeriesBatch(
            history=values[:, :steps, :variates],
            targets=values[:, steps:, self._targets],
            past_marks=None if marks is None else marks[:, :steps],
            future_marks=None if marks is None else marks[:, steps:],
            known=values[..., variates:] if self.table.roles.known else None,
            static=None if self._static is None else self._static[number],
            scale=None if self._scale is None else self._scale[number],
            statistics=None if self._statistics is None else self._statistics[number],
            index=torch.from_numpy(index),
        )

    def series(self, windows: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        """The number of the series that each window lies in."""
        rows = self.starts[np.asarray(windows, np.int64)]
        return np.searchsorted(self._span_starts, rows, side="right") - 1

    def labels(self, windows: Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        """Of some windows: `series` (its name), `start` (first row, counted in its series) and,
        where rows have times, `last_time` (of the last step given).
        """
        index = np.asarray(windows, np.int64)
        number = self.series(index)
        found = {
            "series": np.array([self.table.spans[i].id for i in number]),
            "start": self.starts[index] - self._span_starts[number],
        }
        if self.table.times is not None:
            found["last_time"] = self.table.times[self.starts[index] + self.lookback - 1]
        return found

    def period(self) -> tuple[np.generic, np.generic] | None:
        """The first and the last time that is forecast in any window; None without times."""
        times = self.table.times
        if times is None:
            return None
        first = self.starts + self.lookback
        return times[first].min(), times[first + self.horizon - 1].max()

    def future_times(self, windows: Sequence[int] | Tensor) -> np.ndarray:
        """`(B, H)` times of the targets: datetime64[us], numbers, or steps ahead without times."""
        rows = self.starts[np.asarray(windows, np.int64)] + self.lookback
        ahead = np.arange(self.horizon)
        if self.table.times is None:
            return np.broadcast_to(ahead + 1, (len(rows), self.horizon))
        return self.table.times[rows[:, None] + ahead]


def windowed(rows: Tensor, steps: int) -> Tensor:
    """Every `steps` neighbouring rows of `(rows, C)` as a view `(rows - steps + 1, steps, C)`."""
    stride, inner = rows.stride()
    count = max(len(rows) - steps + 1, 0)
    return rows.as_strided((count, steps, rows.shape[1]), (stride, stride, inner))


def _columns(places: list[int]) -> slice | list[int]:
    """A slice where the places are neighbours: it makes a view instead of a copy."""
    if places == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return places


def _static(table: SeriesTable) -> Tensor | None:
    if not table.roles.static:
        return None
    return torch.from_numpy(table.static.astype(table.values.dtype))
