"""Tables through a forecaster: what follows the last row of every series, with its times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surform.data.series_description import SeriesDescription
from surform.data.series_forecast import ForecastWindows
from surform.data.series_module import SeriesData
from surform.data.series_sources import open_table
from surform.data.series_table import SeriesTable
from surform.data.units import same_unit
from surform.forecasting.labelled_arrays import is_array, like_arrays
from surform.hub.pretrained import Pretrained

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Forecast", "forecast", "predict"]


@dataclass(frozen=True)
class Forecast:
    """The forecast of one or several series.

    Args:
        targets: names of the last axis of `values`.
        values: `(series, H, V)`, physical.
        times: `(series, H)`: datetime64, numbers, or 1 .. H where rows have no times.
        series: names of the series; "" for a single one without a name.
        quantiles: level -> `(series, H, V)`, where the model knows how sure it is.
        units: of the targets, where they are known.
        time, id: names of the columns of times and of series names.
        zone: the time zone whose clock shows `times`; "" of UTC, or where there is none.
    """

    targets: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray
    series: np.ndarray
    quantiles: dict[float, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    time: str = "step"
    id: str | None = None
    zone: str = ""

    def columns(self) -> dict[str, np.ndarray]:
        """One flat column per target and quantile (`OT`, `OT_q0.05`), series after series."""
        found = {}
        for place, name in enumerate(self.targets):
            found[name] = self.values[..., place].ravel()
            for level, bound in self.quantiles.items():
                found[f"{name}_q{level:g}"] = bound[..., place].ravel()
        return found

    def frame(self) -> pd.DataFrame:
        """One row per series and step."""
        import pandas as pd

        keys = {} if self.id is None else {self.id: np.repeat(self.series, self.times.shape[1])}
        frame = pd.DataFrame(keys | {self.time: self.times.ravel()} | self.columns())
        if self.zone:
            first = np.ones(len(frame), bool)  # of two equal times by the clock
            frame[self.time] = frame[self.time].dt.tz_localize(
                self.zone, ambiguous=first, nonexistent="shift_forward"
            )
        return frame

    def dataset(self) -> xr.Dataset:
        """One variable per target over ([series,] time); quantiles beside it as `OT_quantiles`."""
        import xarray as xr

        same = bool((self.times == self.times[0]).all())
        if self.id is None:
            dims, pick = (self.time,), 0
            coordinates: dict[str, Any] = {self.time: self.times[0]}
        elif same:
            dims, pick = (self.id, self.time), slice(None)
            coordinates = {self.id: self.series, self.time: self.times[0]}
        else:  # series that end at different times share the number of the step only
            dims, pick = (self.id, "step"), slice(None)
            steps = np.arange(1, self.times.shape[1] + 1)
            coordinates = {self.id: self.series, "step": steps, self.time: (dims, self.times)}
        data: dict[str, Any] = {}
        for place, name in enumerate(self.targets):
            attributes = {"units": self.units[name]} if name in self.units else {}
            data[name] = (dims, self.values[pick][..., place], attributes)
            if self.quantiles:
                bounds = [bound[pick][..., place] for bound in self.quantiles.values()]
                data[f"{name}_quantiles"] = ((*dims, "quantile"), np.stack(bounds, -1), attributes)
                coordinates["quantile"] = list(self.quantiles)
        return xr.Dataset(data, coordinates)


def predict(
    model: Pretrained,
    source: Any,
    *,
    levels: Sequence[float] | None = None,
    batch_size: int = 256,
    **reading: Any,
) -> pd.DataFrame | xr.Dataset | xr.DataArray:
    """Forecast the horizon after the last row of every series of a table.

    Args:
        model: a forecaster, or a model around one, with the description of its data.
        source: a frame of pandas or polars, an xarray dataset, or the path of a file.
        levels: quantiles to give, of those that the model knows; None: all, if it knows any.
        batch_size: series in one call of the network.
        reading: how to read the table where it is not found: `time`, `time_format`, `id`, `fill`,
            `fill_limit`, `gaps`, `delimiter`, `header`, `decimal` as in `SeriesData`. By
            default the columns of times and names are those of training.

    Returns:
        A pandas frame, a row per series and step; polars for polars. For xarray sources, NetCDF and
        Zarr the variables that are forecast, over their own dimensions and coordinates: a DataArray
        for one, unless quantiles stand beside it. What the model does not know is left out.

    Raises:
        ValueError: missing columns, another time step or unit, too few or incomplete last rows.
    """
    found = forecast(model, source, levels=levels, batch_size=batch_size, **reading)
    if not is_array(source):
        return _like(source, found)
    return like_arrays(found, source, reading.get("time"))


def forecast(
    model: Pretrained,
    source: Any,
    *,
    levels: Sequence[float] | None = None,
    batch_size: int = 256,
    **reading: Any,
) -> Forecast:
    """As `predict`, before it is put into a table."""
    about = model.description
    if not isinstance(about, SeriesDescription):
        raise ValueError(
            "this model has no description of its series, so tables cannot be checked: call it "
            "with tensors, or fit_to(...) first"
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}, but must be at least 1")
    wanted = _levels(model, levels)
    windows = _windows(about, source, reading)
    everything = range(len(windows))
    values, quantiles = _run(model, windows, batch_size)
    quantiles = {level: quantiles[level] for level in wanted}
    roles = windows.table.roles
    return Forecast(
        targets=about.targets,
        values=values,
        times=windows.future_times(everything),
        series=windows.labels(everything)["series"],
        quantiles=quantiles,
        units={name: unit for name, unit in about.units.items() if name in about.targets},
        time=roles.time or "step",
        id=roles.id,
        zone=windows.table.zone,
    )


def _levels(model: Pretrained, asked: Sequence[float] | None) -> Sequence[float]:
    """The quantiles to give; ValueError for those that the model does not know."""
    known = tuple(getattr(model, "levels", ()))
    for level in asked or ():
        if level not in known:
            have = f"it knows {', '.join(map(str, known))}" if known else "it knows no intervals"
            raise ValueError(f"the model gives no quantile {level}: {have}")
    return known if asked is None else asked


def _windows(about: SeriesDescription, source: Any, reading: dict[str, Any]) -> ForecastWindows:
    """The last rows of every series, checked to be what the model was trained on."""
    text = {n: reading[n] for n in ("delimiter", "header", "decimal", "time") if n in reading}
    columns = open_table(source, **text).kinds()
    trained = about.source
    known: dict[str, Any] = {n: trained[n] for n in ("time", "id") if trained.get(n) in columns}
    known["gaps"] = "split"  # holes before the last rows do not matter
    known["normalize"] = about.normalize
    if not about.step and "time" not in trained:
        known["step"] = ""
    if about.marks:
        known["marks"] = trained.get("marks", "continuous")
        known["marks_step"] = trained.get("marks_step")
    for role in ("variates", "targets", "known", "static"):
        known[role] = list(getattr(about, role))
    data = SeriesData(source, about.lookback, about.horizon, **(known | reading))
    if about.step and not _tells_step(data.table, about.step):
        known["step"] = about.step
        data = SeriesData(source, about.lookback, about.horizon, **(known | reading))
    data.check(about)
    table = data.table
    for name, unit in table.units.items():
        trained_unit = about.units.get(name)
        if trained_unit is not None and not same_unit(unit, trained_unit):
            raise ValueError(
                f"the model was trained with {name} in {trained_unit!r}, {table.name} gives it in "
                f"{unit!r}"
            )
    return data.forecast_windows()


def _tells_step(table: SeriesTable, trained: str) -> bool:
    """Whether a table shows its step: one row does not, and a week of business days looks daily."""
    if not table.dates:
        return True
    return table.step is not None and (trained, table.step.text) != ("B", "1D")


def _run(
    model: Pretrained, windows: ForecastWindows, batch_size: int
) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Forecasts `(series, H, V)`, and their quantiles by level."""
    weight = next(iter(model.parameters()))
    levels = tuple(getattr(model, "levels", ())) if hasattr(model, "quantiles") else ()
    values: list[Tensor] = []
    bounds: list[Tensor] = []
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for first in range(0, len(windows), batch_size):
                batch = windows[range(first, min(first + batch_size, len(windows)))]
                batch = batch.map(lambda t: t.to(weight) if t.is_floating_point() else t)
                values.append(model.outputs(batch).float().cpu())
                if levels:
                    bounds.append(model.quantiles(batch).float().cpu())  # type: ignore[operator]
    finally:
        model.train(training)
    found = torch.cat(bounds, 1).numpy() if levels else ()
    return torch.cat(values).numpy(), dict(zip(levels, found, strict=True))


def _like(source: Any, found: Forecast) -> Any:
    """The frame, indexed as the source is; of polars where the source is."""
    frame = found.frame()
    library = type(source).__module__.partition(".")[0]
    if library == "polars":
        return _like_polars(source, frame, found)
    if library == "pandas":
        _restore_kinds(source, frame, found)
    index = getattr(source, "index", None)
    names = [name for name in getattr(index, "names", []) if name is not None]
    kind = type(index).__name__
    if kind == "MultiIndex" and set(names) == {found.id, found.time}:
        return frame.set_index(names)
    if kind in ("DatetimeIndex", "PeriodIndex") and found.id is None:
        frame = frame.set_index(found.time).rename_axis(index.name)  # type: ignore[union-attr]
        return frame.to_period(index.freq) if kind == "PeriodIndex" else frame  # type: ignore[union-attr]
    return frame


def _like_polars(source: Any, frame: pd.DataFrame, found: Forecast) -> Any:
    """The frame in polars, names of series and time zone as the source has them."""
    import polars

    if found.zone:
        frame[found.time] = frame[found.time].dt.tz_convert("UTC").dt.tz_localize(None)
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in frame.columns}
    given = source.lazy().collect_schema()
    if found.id is not None:
        ids = source.lazy().select(polars.col(found.id).unique()).collect()[found.id]
        columns[found.id] = polars.Series(_originals(frame[found.id], ids), dtype=ids.dtype)
    result = polars.DataFrame(columns)
    zone = getattr(given.get(found.time), "time_zone", None)
    if zone is None:
        return result
    time = polars.col(found.time).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return result.with_columns(time)


def _restore_kinds(source: Any, frame: pd.DataFrame, found: Forecast) -> None:
    """Give names of series their type and times their zone, as the pandas source has them."""
    import pandas as pd

    column = None if found.id is None else _pandas_column(source, found.id)
    if column is not None:
        frame[found.id] = pd.Series(
            _originals(frame[found.id], column.unique()), dtype=column.dtype
        )
    times = _pandas_column(source, found.time)
    if times is None and type(source.index).__name__ == "DatetimeIndex":
        times = source.index  # without a name
    zone = getattr(getattr(times, "dtype", None), "tz", None)
    if zone is not None:
        moments = frame[found.time] if found.zone else frame[found.time].dt.tz_localize("UTC")
        frame[found.time] = moments.dt.tz_convert(zone)


def _pandas_column(source: Any, name: str) -> Any:
    """A column or level of the index; None where there is none of that name."""
    if name in getattr(source, "columns", ()):
        return source[name]
    if name in source.index.names:
        return source.index.get_level_values(name)
    return None


def _originals(names: Any, values: Any) -> list[Any]:
    """The values that series are named after: numbers are read as 3 or 3.0."""
    known = {}
    for value in values:
        known[str(value).strip()] = value
        if isinstance(value, int | np.integer):
            known[str(float(value))] = value
    return [known[str(name)] for name in names]
