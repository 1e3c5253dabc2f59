"""The windows whose future is not known: the last rows of every series."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from surform.data.faults import command_line
from surform.data.series_batch import SeriesBatch
from surform.data.series_table import SeriesTable, Span
from surform.data.series_times import shown_time

__all__ = ["ForecastWindows"]


class ForecastWindows(Dataset[SeriesBatch]):
    """One window per series: its last `lookback` rows, and nothing of the targets.

    Args:
        table: the series; known covariates reach `horizon` rows beyond the last variates.
        lookback: steps given.
        horizon: steps to forecast.
        marks: calendar features of `(n,)` times, `(n, M)`; None without.
        scale: `(series, V_out)` of the batches; None without.
        statistics: `(series, 2, V)` of the batches; None without.

    Raises:
        ValueError: a series that is too short, has missing values in its last rows, or lacks known
            covariates of the future.
    """

    def __init__(
        self,
        table: SeriesTable,
        lookback: int,
        horizon: int,
        marks: Callable[[np.ndarray], Tensor] | None = None,
        scale: Tensor | None = None,
        statistics: Tensor | None = None,
    ) -> None:
        self.table, self.lookback, self.horizon = table, lookback, horizon
        for span in table.spans:
            _check(table, span, lookback, horizon)
        first = np.array([span.stop - lookback for span in table.spans])
        rows = first[:, None] + np.arange(lookback)
        variates = len(table.roles.variates)
        self._history = torch.from_numpy(table.values[rows, :variates])
        self._times = self._future(table)
        self._past_marks = self._future_marks = self._known = None
        if marks is not None and table.times is not None:
            self._past_marks = marks(table.times[rows].ravel()).unflatten(0, rows.shape)
            self._future_marks = marks(self._times.ravel()).unflatten(0, self._times.shape)
        if table.roles.known:
            whole = first[:, None] + np.arange(lookback + horizon)
            self._known = torch.from_numpy(table.values[whole, variates:])
        self._static, self._scale, self._statistics = None, scale, statistics
        if table.roles.static:
            self._static = torch.from_numpy(table.static.astype(table.values.dtype))

    def __len__(self) -> int:
        return len(self.table.spans)

    def __getitem__(self, windows: int | Sequence[int]) -> SeriesBatch:
        index = torch.from_numpy(np.atleast_1d(np.asarray(windows, np.int64)))
        parts = {
            "past_marks": self._past_marks,
            "future_marks": self._future_marks,
            "known": self._known,
            "static": self._static,
            "scale": self._scale,
            "statistics": self._statistics,
        }
        history = self._history[index]
        targets = history.new_empty(len(index), 0, len(self.table.roles.targets))
        given = {name: part[index] for name, part in parts.items() if part is not None}
        return SeriesBatch(history, targets, index=index, **given)

    def labels(self, windows: Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        """As `SeriesWindows.labels`."""
        spans = [self.table.spans[int(i)] for i in windows]
        found = {
            "series": np.array([span.id for span in spans]),
            "start": np.array([span.rows - self.lookback for span in spans]),
        }
        if self.table.times is not None:
            found["last_time"] = self.table.times[[span.stop - 1 for span in spans]]
        return found

    def future_times(self, windows: Sequence[int] | Tensor) -> np.ndarray:
        """`(B, H)` times of the forecast: datetime64[us], numbers, or steps ahead without times."""
        return self._times[np.asarray(windows, np.int64)]

    def _future(self, table: SeriesTable) -> np.ndarray:
        if table.times is None or table.step is None:
            return np.tile(np.arange(1, self.horizon + 1), (len(table.spans), 1))
        last = table.times[[span.stop - 1 for span in table.spans]]
        return table.step.after(last, self.horizon)


def _check(table: SeriesTable, span: Span, lookback: int, horizon: int) -> None:
    where = table.where(span)
    if span.rows < lookback:
        raise ValueError(f"{where} has {span.rows} rows, a forecast needs {lookback} (lookback)")
    held = [b - max(a, span.stop - lookback) for a, b in span.segments if b == span.stop]
    if not held or held[0] < lookback:
        raise ValueError(
            f"{_fault(table, span, lookback)}, but a forecast needs the last {lookback} rows of "
            f"{where} complete: choose fill and fill_limit "
            f"({command_line(fill='interpolate', fill_limit=6)})"
        )
    if not table.roles.known:
        return
    ahead = span.end - span.stop
    names = ", ".join(table.roles.known)
    if ahead < horizon:
        raise ValueError(
            f"{where} holds {ahead} rows after its last variates, a forecast needs the known "
            f"covariates ({names}) of {horizon}: append rows with them and no variates"
        )
    later = table.values[span.stop : span.stop + horizon, len(table.roles.variates) :]
    if np.isnan(later).any():
        row, column = (int(i) for i in np.argwhere(np.isnan(later))[0])
        raise ValueError(
            f"{table.name}, {table.place(span.stop + row)}: the known covariate "
            f"{table.roles.known[column]!r} is missing in the future"
        )


def _fault(table: SeriesTable, span: Span, lookback: int) -> str:
    """The last missing value or gap among the last rows of a series."""
    first = span.stop - lookback
    missing = np.argwhere(np.isnan(table.values[first : span.stop, : len(table.columns)]))
    if len(missing):
        row, column = (int(i) for i in missing[-1])
        where = f"{table.name}, {table.place(first + row)}, column {table.columns[column]!r}"
        return f"{where}: a value is missing"
    row = next(a for a, b in reversed(span.segments) if b == span.stop)
    if table.times is None:
        return f"{table.name}, {table.place(row)}: rows are missing before it"
    between = " and ".join(map(shown_time, table.times[row - 1 : row + 1]))
    return f"{table.name}: rows are missing between {between} ({table.place(row)})"
