"""Tables that Python holds: pandas and polars frames, Arrow tables, arrays of NumPy and torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from numbers import Real
from typing import Any

import numpy as np

from surform.data.series_raw import Kind, RawTable, numbered_row
from surform.data.series_space import Space
from surform.data.series_times import looks_like_time

__all__ = ["ColumnTable", "array_table", "frame_table"]


class ColumnTable:
    """A table whose columns are NumPy arrays.

    Args:
        columns: arrays of numbers, datetime64 or objects (text, dates, numbers), or functions that
            give them.
        name: for messages.
        defaults: roles that the source names itself, see `find_roles`.
        kinds: of columns that are given as functions.
        zones: names of time zones, of columns of times that have one; their arrays are in UTC.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray | Callable[[], np.ndarray]],
        name: str,
        defaults: Mapping[str, Any] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        zones: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.defaults, self._zones = name, dict(defaults or {}), dict(zones or {})
        self._columns = {
            key: (lambda value=value: value) if isinstance(value, np.ndarray) else value
            for key, value in columns.items()
        }
        given = kinds or {}
        self._kinds: dict[str, Kind] = {
            key: given.get(key) or _kind(get()) for key, get in self._columns.items()
        }

    def kinds(self) -> Mapping[str, Kind]:
        """The columns and what they hold."""
        return self._kinds

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Copy the chosen columns."""
        texts = {name: self._columns[name]() for name in labels}
        rows = len(self._columns[next(iter(self._columns))]()) if self._columns else 0
        values = space.empty(rows, len(numbers))
        for number, name in enumerate(numbers):
            values[:, number] = _as_numbers(self._columns[name](), name, self.name)
        return RawTable(self.name, tuple(numbers), values, texts, zones=self._zones)


def frame_table(frame: Any) -> ColumnTable | None:
    """A reader of a pandas, polars or Arrow table; None for anything else."""
    library = type(frame).__module__.partition(".")[0]
    kind = type(frame).__name__
    if library == "pandas" and kind in ("DataFrame", "Series"):
        return _pandas_table(frame.to_frame() if kind == "Series" else frame)
    if library == "polars" and kind in ("DataFrame", "LazyFrame"):
        frame = frame.collect() if kind == "LazyFrame" else frame
        return _polars_table(frame)
    if library == "pyarrow" and kind == "Table":
        return _arrow_table(frame)
    return None


def array_table(array: Any, name: str = "the array") -> ColumnTable:
    """A reader of an array `(rows,)`, `(rows, variates)`, or `(rows, variates, features)` of which
    the first feature is taken, as the PEMS files have it. Columns are called "0", "1", ...

    Raises:
        ValueError: another number of axes, or no numbers.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {values.dtype}, not numbers")
    if values.ndim not in (1, 2, 3):
        raise ValueError(f"{name} has {values.ndim} axes: give (rows, variates)")
    if values.ndim == 3:
        values = values[..., 0]
    values = values.reshape(len(values), -1)
    names = [str(i) for i in range(values.shape[1])]
    columns = {n: values[:, i] for i, n in enumerate(names)}
    return ColumnTable(columns, name, {"timed": False})


def _pandas_table(frame: Any) -> ColumnTable:
    defaults: dict[str, Any] = {}
    index = frame.index
    if type(index).__name__ in ("DatetimeIndex", "PeriodIndex"):
        if type(index).__name__ == "PeriodIndex":
            frame = frame.set_axis(index.to_timestamp())
        frame = frame.rename_axis(index.name or "time").reset_index()
        defaults["time"] = str(frame.columns[0])
    elif type(index).__name__ == "MultiIndex":
        frame = frame.reset_index()
    if type(frame.columns).__name__ == "MultiIndex":
        frame = frame.set_axis(["_".join(map(str, names)) for names in frame.columns], axis=1)
    names = [str(name) for name in frame.columns]
    _refuse_twice(names, "the frame")
    columns = {n: _pandas_column(frame.iloc[:, i]) for i, n in enumerate(names)}
    zones = {n: getattr(frame.dtypes.iloc[i], "tz", None) for i, n in enumerate(names)}
    named = {name: str(zone) for name, zone in zones.items() if zone is not None}
    return ColumnTable(columns, "the frame", defaults, zones=named)


def _pandas_column(series: Any) -> np.ndarray:
    kind = str(series.dtype)
    if kind.startswith("datetime64"):
        zone = getattr(series.dtype, "tz", None)
        series = series.dt.tz_convert("UTC").dt.tz_localize(None) if zone is not None else series
        return series.to_numpy(dtype="datetime64[us]")
    if kind.startswith("period"):
        return series.dt.to_timestamp().to_numpy(dtype="datetime64[us]")
    if series.dtype.kind in "iufb" and isinstance(series.dtype, np.dtype):
        return series.to_numpy()
    if series.dtype.kind in "iufb":  # pandas' own types, with missing values
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array(series.astype(object).where(series.notna(), None).tolist(), dtype=object)


def _polars_table(frame: Any) -> ColumnTable:
    columns, zones = {}, {}
    for name in frame.columns:
        series = frame[name]
        if series.dtype.is_temporal():
            zone = getattr(series.dtype, "time_zone", None)
            series = (
                series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else series
            )
            zones |= {name: zone} if zone else {}
            columns[name] = series.to_numpy().astype("datetime64[us]")
        elif series.dtype.is_numeric() or str(series.dtype) == "Boolean":
            columns[name] = series.cast(_polars().Float64).to_numpy()
        else:
            columns[name] = np.array(series.to_list(), dtype=object)
    return ColumnTable(columns, "the frame", zones=zones)


def _polars() -> Any:
    import polars

    return polars


def _arrow_table(table: Any) -> ColumnTable:
    from surform.data.series_parquet import arrow_kind, arrow_values, arrow_zones

    _refuse_twice(table.column_names, "the table")
    columns = {
        name: (lambda name=name: arrow_values(table.column(name))) for name in table.column_names
    }
    kinds: dict[str, Kind] = {}
    for field in table.schema:
        kind = arrow_kind(field.type)
        if kind != "text":  # text may hold times: that shows in its values
            kinds[field.name] = kind
    return ColumnTable(columns, "the table", kinds=kinds, zones=arrow_zones(table.schema))


def _refuse_twice(names: Sequence[str], where: str) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise ValueError(f"{where} has two columns called {name!r}")


def _kind(column: np.ndarray) -> Kind:
    if column.dtype.kind in "fiub":
        return "number"
    if column.dtype.kind == "M":
        return "time"
    filled = [v for v in column[:200].tolist() if v is not None and v == v]
    if not filled:
        return "empty"
    if isinstance(filled[0], datetime | date | np.datetime64):
        return "time"
    # one bad value in a column of numbers is better named than taken for text
    if 2 * sum(isinstance(v, Real) for v in filled) > len(filled):
        return "number"
    return "time" if 2 * sum(looks_like_time(str(v)) for v in filled) > len(filled) else "text"


def _as_numbers(column: np.ndarray, name: str, where: str) -> np.ndarray:
    if column.dtype.kind != "O":
        return column
    found = np.empty(len(column))
    for row, value in enumerate(column.tolist()):
        try:
            found[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}, {numbered_row(row)}, column {name!r}: {str(value)[:40]!r} is not a "
                "number"
            ) from None
    return found
