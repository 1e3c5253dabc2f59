"""xarray, NetCDF and Zarr as tables: what is not time becomes columns, samples become series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from surform.data.series_raw import Kind, RawTable
from surform.data.series_space import Space

__all__ = ["XarrayTable"]

_BLOCK_VALUES = 1 << 22
_SERIES = ("sample", "series", "id", "trajectory")


class XarrayTable:
    """Variables over time, `([series,] time, *others)`.

    A variable over time alone is one column; others give one column per point of their further
    axes, called by its label: "north" where these are names and the variable is the only one,
    "u_north" beside others, "u_3" without names. What has no time can be a static covariate.

    Args:
        dataset: may be lazy; values are read in blocks over time.
        name: for messages.
        time: the axis of time; None: "time", else the only one with timestamps.
        ordered: whether variables stand in an order that means something; else they are sorted.

    Raises:
        ValueError: no axis of time, or variables that do not fit.
    """

    def __init__(
        self, dataset: xr.Dataset | xr.DataArray, name: str, time: str | None, ordered: bool = True
    ) -> None:
        self.single = isinstance(dataset, xr.DataArray)
        if isinstance(dataset, xr.DataArray):
            dataset = dataset.to_dataset(name=str(dataset.name or "u"))
        self.dataset, self.name, self._ordered = dataset, name, ordered
        dims = [str(dim) for dim in dataset.sizes]
        self.time = time if time in dims else _time_axis(dataset, name)
        self.series = next((d for d in _SERIES if d in dims and d != self.time), None)
        # column -> its variable and its place among the points of that variable
        self.columns = self._find_columns()
        self.defaults: dict[str, Any] = {
            "constant": [
                column for column, (variable, _) in self.columns.items()
                if self.time not in dataset[variable].dims
            ]
        }  # fmt: skip
        if self.time in dataset.coords:
            self.defaults["time"] = self.time
        if self.series is not None and dataset.sizes[self.series] > 1:
            self.defaults["id"] = self.series

    def kinds(self) -> Mapping[str, Kind]:
        """Time, the name of the series where there are several, and one number per column."""
        kinds: dict[str, Kind] = {}
        if self.time in self.dataset.coords:
            kinds[self.time] = "time"
        if "id" in self.defaults:
            kinds[self.defaults["id"]] = "text"
        for name in self.columns:
            kinds[name] = "number"
        return kinds

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Read the chosen columns, series after series."""
        frames = self.dataset.sizes[self.time]
        count = self.dataset.sizes[self.series] if self.series is not None else 1
        values = space.empty(frames * count, len(numbers))
        for variable, pairs in self._wanted(numbers).items():
            self._read_variable(variable, pairs, values, frames, count)
        found: dict[str, np.ndarray] = {}
        if self.time in labels:
            found[self.time] = np.tile(_times(self.dataset, self.time), count)
        if self.series is not None and self.series in labels:
            found[self.series] = np.repeat(self._series_names(), frames)
        return RawTable(
            self.name, tuple(numbers), values, found, self._units(numbers),
            {str(k): str(v) for k, v in self.dataset.attrs.items()},
        )  # fmt: skip

    # -- parts -------------------------------------------------------------------------------

    def _find_columns(self) -> dict[str, tuple[str, int]]:
        timed = [str(n) for n, v in self.dataset.data_vars.items() if v.dtype.kind in "fiub"]
        timed = timed if self._ordered else sorted(timed)
        several = sum(self.time in self.dataset[n].dims for n in timed) > 1
        columns: dict[str, tuple[str, int]] = {}
        for name in timed:
            variable = self.dataset[name]
            others = [d for d in variable.dims if d not in (self.time, self.series)]
            if self.time not in variable.dims and (others or not variable.ndim):
                continue  # a mask or a constant: it belongs to no series
            for place, label in enumerate(_labels(self.dataset, name, others, several)):
                if label in columns:
                    raise ValueError(f"{self.name} gives two columns called {label!r}")
                columns[label] = (name, place)
        if not columns:
            raise ValueError(f"{self.name} holds no variable over {self.time!r}")
        return columns

    def _wanted(self, numbers: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
        wanted: dict[str, list[tuple[int, int]]] = {}
        for column, name in enumerate(numbers):
            variable, place = self.columns[name]
            wanted.setdefault(variable, []).append((column, place))
        return wanted

    def _read_variable(
        self,
        name: str,
        pairs: list[tuple[int, int]],
        values: np.ndarray,
        frames: int,
        count: int,
    ) -> None:
        variable = self.dataset[name]
        columns, places = (list(x) for x in zip(*pairs, strict=True))
        order = [d for d in (self.series, self.time) if d in variable.dims]
        variable = variable.transpose(*order, ...)
        points = math.prod(n for d, n in variable.sizes.items() if d not in order)
        block = max(1, _BLOCK_VALUES // max(1, points))
        for sample in range(count):
            own = variable.isel({self.series: sample}) if self.series in variable.dims else variable
            first = sample * frames
            if self.time not in variable.dims:
                values[first : first + frames, columns] = float(own.values)
                continue
            for start in range(0, frames, block):
                stop = min(start + block, frames)
                part = own.isel({self.time: slice(start, stop)}).values.reshape(stop - start, -1)
                values[first + start : first + stop, columns] = part[:, places]

    def _series_names(self) -> np.ndarray:
        if self.series in self.dataset.coords:
            return np.array([str(v) for v in self.dataset[self.series].values.tolist()], object)
        return np.array([str(i) for i in range(self.dataset.sizes[self.series])], object)

    def _units(self, numbers: Sequence[str]) -> dict[str, str]:
        found = {n: self.dataset[self.columns[n][0]].attrs.get("units") for n in numbers}
        return {name: str(unit) for name, unit in found.items() if unit is not None}


def _time_axis(dataset: xr.Dataset, name: str) -> str:
    if "time" in dataset.sizes:
        return "time"
    dated = [str(d) for d in dataset.sizes if d in dataset.coords and dataset[d].dtype.kind == "M"]
    if len(dated) == 1:
        return dated[0]
    dims = ", ".join(map(str, dataset.sizes))
    raise ValueError(f"{name} has no axis of time among {dims}: give time")


def _labels(dataset: xr.Dataset, name: str, others: list[Any], several: bool) -> list[str]:
    if not others:
        return [name]
    if len(others) == 1 and others[0] in dataset.coords:
        points = dataset[others[0]].values
        if points.dtype.kind in "OUST":
            return [f"{name}_{p}" if several else str(p) for p in points.tolist()]
    count = math.prod(dataset.sizes[d] for d in others)
    return [f"{name}_{i}" for i in range(count)]


def _times(dataset: xr.Dataset, axis: str) -> np.ndarray:
    """The coordinate, decoded where its units count from a date."""
    coordinate = dataset[axis].variable
    if " since " in str(coordinate.attrs.get("units", "")):
        coordinate = xr.decode_cf(xr.Dataset(coords={axis: coordinate}))[axis].variable
    return np.asarray(coordinate.values)
