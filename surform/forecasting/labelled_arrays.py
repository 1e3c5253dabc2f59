"""Forecasts of labelled arrays as labelled arrays: over the dimensions that were given."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.fields import open_stored
from surform.data.series_sources import open_table
from surform.data.series_xarray import XarrayTable

if TYPE_CHECKING:
    import xarray as xr

    from surform.forecasting.labelled import Forecast

__all__ = ["is_array", "like_arrays"]

_ARRAY_FILES = (".nc", ".nc4", ".h5", ".hdf5", ".zarr")


def is_array(source: Any) -> bool:
    """Whether a source holds labelled arrays: xarray, NetCDF, HDF5 or Zarr."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source).rstrip("/").lower().endswith(_ARRAY_FILES)
    return type(source).__module__.partition(".")[0] == "xarray"


def like_arrays(found: Forecast, source: Any, time: str | None = None) -> xr.Dataset | xr.DataArray:
    """A forecast over the dimensions of its source, times of the horizon in place of those given.

    Coordinates without time and attributes are those of the source; quantiles stand beside as
    `OT_quantiles`, with the dimension `quantile` behind the others. A DataArray gives a DataArray
    where there are no quantiles. Where a variable has several further axes, of which some points
    only are forecast, and where series end at different times, targets are variables of their own.

    Args:
        source: xarray, or the path of a file.
        time: the axis of time, as it was read.
    """
    import xarray as xr

    table = open_table(source, time=time)
    assert isinstance(table, XarrayTable)
    wanted: dict[str, dict[int, int]] = {}  # variable -> place among its points -> target
    for number, name in enumerate(found.targets):
        variable, place = table.columns[name]
        wanted.setdefault(variable, {})[place] = number
    fits = all(_fits(table, variable, points) for variable, points in wanted.items())
    if not fits or not bool((found.times == found.times[0]).all()):
        return found.dataset()
    data: dict[str, xr.DataArray] = {}
    added = _added_axis(source, table)
    for variable, points in wanted.items():
        data[variable] = _arranged(found, found.values, table, variable, points)
        if found.quantiles:
            bounds = [
                _arranged(found, values, table, variable, points)
                for values in found.quantiles.values()
            ]
            joined = xr.concat(bounds, xr.Variable("quantile", list(found.quantiles)))
            data[f"{variable}_quantiles"] = joined.transpose(..., "quantile")
    if table.single and not found.quantiles:
        return data[next(iter(data))].rename(source.name)
    return xr.Dataset(data, attrs=dict(table.dataset.attrs)).squeeze(added, drop=True)


def _added_axis(source: Any, table: XarrayTable) -> list[str]:
    """The axis of samples that opening a file without one adds."""
    if not isinstance(source, str | os.PathLike) or table.dataset.sizes.get("sample") != 1:
        return []
    stored = open_stored(os.fspath(source))
    return [] if "sample" in stored.dims else ["sample"]


def _fits(table: XarrayTable, variable: str, points: dict[int, int]) -> bool:
    """Whether forecasts of some points of a variable can stand over its own axes."""
    sizes = dict(table.dataset[variable].sizes)
    if table.series is not None and sizes.pop(table.series, 1) < table.dataset.sizes[table.series]:
        return False  # one variable for all series, but a forecast for each
    sizes.pop(table.time)
    return len(sizes) <= 1 or len(points) == math.prod(sizes.values())


def _arranged(
    found: Forecast,
    values: np.ndarray,
    table: XarrayTable,
    name: str,
    points: dict[int, int],
) -> xr.DataArray:
    """Forecasts `(series, H, V)` of the points of a variable, as it lies itself.

    Args:
        points: place among the points of the variable -> target.
    """
    import xarray as xr

    variable, places = table.dataset[name], sorted(points)
    others = [d for d in variable.dims if d not in (table.series, table.time)]
    if others and len(places) < math.prod(variable.sizes[d] for d in others):
        variable = variable.isel({others[0]: places})
    leading = [table.series, table.time] if table.series in variable.dims else [table.time]
    shape = [variable.sizes[d] for d in others]
    chosen = values[..., [points[place] for place in places]]
    if len(leading) == 1:
        chosen = chosen[0]
    chosen = chosen.reshape(*chosen.shape[: len(leading)], *shape)
    coordinates: dict[Any, Any] = {
        n: c.variable for n, c in variable.coords.items() if table.time not in c.dims
    }
    if table.time in variable.coords:
        attributes = table.dataset[table.time].attrs
        kept = {n: value for n, value in attributes.items() if n not in ("units", "calendar")}
        if found.times.dtype.kind != "M":
            kept = dict(attributes)
        coordinates[table.time] = (table.time, found.times[0], kept)
    array = xr.DataArray(chosen, coordinates, [*leading, *others], attrs=dict(variable.attrs))
    return array.transpose(*variable.dims)
