"""Labelled trajectories as a model sees them: where a rollout starts, and the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.compatibility import axis_values, check_grid, check_variables, frame_step
from surform.data.description import FieldsDescription

__all__ = ["Trajectories", "coordinates"]

_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Trajectories:
    """A dataset on the model's time step and grid, checked against the model's description.

    Build it with `Trajectories.of(dataset, description)`. Finer data are sub-sampled in time to
    the model's step, and in space where that gives the grid the model was trained on; other grids
    are refused unless `any_grid` is set.

    Attributes:
        dataset: dims ("sample", "time", *axes); loaded piece by piece.
        grid: the description, with the dataset's own grid.
        start: number of the first frame of the input window, in steps of the model.
    """

    dataset: xr.Dataset
    grid: FieldsDescription
    start: int

    @classmethod
    def of(
        cls,
        dataset: xr.Dataset,
        description: FieldsDescription,
        start: int = 0,
        any_grid: bool = False,
    ) -> Trajectories:
        """Check and sub-sample; ValueError says what does not fit."""
        _check_feedback(description, dataset)
        check_variables(dataset, description)
        dataset = _with_positions(dataset, description)
        if "sample" not in dataset.dims:
            dataset = dataset.expand_dims("sample")
        dataset = _space(_time(dataset, description), description)
        if not any_grid:
            check_grid(dataset, description)
        window = description.input_steps or 1
        have = dataset.sizes.get("time", 1)
        if start < 0 or start + window > have:
            raise ValueError(
                f"a rollout from frame {start} needs {window} frames, the data have {have}"
            )
        axes = description.axes
        coordinates = {a: np.asarray(dataset[a].values, float).tolist() for a in axes}
        shape = tuple(dataset.sizes[axis] for axis in axes)
        return cls(dataset, replace(description, coordinates=coordinates, shape=shape), start)

    @property
    def samples(self) -> int:
        """The number of trajectories."""
        return self.dataset.sizes["sample"]

    @property
    def known(self) -> int:
        """How many frames after the window the dataset knows."""
        return max(self.dataset.sizes.get("time", 1) - self._first, 0)

    def inputs(self, samples: slice) -> Tensor:
        """The initial windows `(B, T_in, *grid, C)`, or `(B, *grid, C)` for one-step models."""
        names = (*self.grid.inputs, *self.grid.parameters)
        values = self._read(names, samples, self.start, self._first)
        if not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"variable {names[where[-1]]!r} is {values[tuple(where)]} in sample "
                f"{samples.start + where[0]}, frame {self.start + where[1]}: no model can start "
                "there"
            )
        return torch.from_numpy(values if self.grid.input_steps is not None else values[:, -1])

    def last_known(self, samples: slice) -> Tensor:
        """The targets in the last frame of the window, `(B, *grid, C_out)`."""
        return torch.from_numpy(
            self._read(self.grid.targets, samples, self._first - 1, self._first)[:, 0]
        )

    def truth(self, samples: slice, first: int, count: int) -> Tensor | None:
        """Frames first..first+count after the window, as many as known; None when none is."""
        begin = self._first + first
        end = min(begin + count, self._first + self.known)
        if end <= begin:
            return None
        return torch.from_numpy(self._read(self.grid.targets, samples, begin, end))

    def frames(self, samples: slice, begin: int, end: int) -> Iterator[Tensor]:
        """The targets in frames begin..end of the data, `(B, *grid, C_out)` each."""
        size = max(1, _BLOCK_BYTES // (8 * math.prod((*self.grid.shape, len(self.grid.targets)))))
        for first in range(begin, end, size):
            block = self._read(self.grid.targets, samples, first, min(first + size, end))
            yield from torch.from_numpy(block).unbind(1)

    def earlier(self, samples: slice) -> Iterator[Tensor]:
        """The frames up to the last one of the window, `(B, *grid, C_out)` each."""
        return self.frames(samples, 0, self._first)

    def future(self, steps: int) -> xr.Dataset | None:
        """The true targets at the predicted times, lazily; as many as known, None when none is."""
        end = min(self._first + steps, self._first + self.known)
        if end <= self._first:
            return None
        return self.dataset[list(self.grid.targets)].isel(time=slice(self._first, end))

    def lead_times(self, steps: int) -> np.ndarray:
        """Times since the last known frame, `(steps,)`."""
        return self.time_step * np.arange(1, steps + 1)

    @property
    def initial_time(self) -> float:
        """The time of the last known frame."""
        if "time" not in self.dataset.coords:
            return float(self._first - 1) * self.time_step
        return float(self.dataset["time"][self._first - 1])

    @property
    def time_step(self) -> float:
        """The model's time step; 1 for one-step models of data without times."""
        if self.grid.time_step is not None:
            return self.grid.time_step
        if self.dataset.sizes.get("time", 1) > 1 and "time" in self.dataset.coords:
            return float(self.dataset["time"][1] - self.dataset["time"][0])
        return 1.0

    @property
    def _first(self) -> int:
        return self.start + (self.grid.input_steps or 1)

    def _read(self, names: tuple[str, ...], samples: slice, begin: int, end: int) -> np.ndarray:
        piece = self.dataset.isel(sample=samples)
        shape = (piece.sizes["sample"], end - begin, *self.grid.shape, len(names))
        values = np.empty(shape, np.float32 if not self._double(names) else np.float64)
        for channel, name in enumerate(names):
            array = piece[name]
            if "time" in array.dims:
                array = array.isel(time=slice(begin, end))
            values[..., channel] = _broadcast(array, ("sample", "time", *self.grid.axes))
        return values

    def _double(self, names: tuple[str, ...]) -> bool:
        return any(self.dataset[name].dtype == np.float64 for name in names)


def coordinates(course: Trajectories, steps: int) -> dict[str, Any]:
    """Coordinates of the predicted frames: the data's, with time going on from the last frame."""
    data, grid = course.dataset, course.grid
    known = dict(data["time"].attrs) if "time" in data.coords else {}
    attrs = {"units": grid.units.get("time", "1")} | known
    lead = course.lead_times(steps)
    labels: dict[str, Any] = {
        "time": (("time",), course.initial_time + lead, attrs),
        "lead_time": (("time",), lead, attrs),
    }
    for axis in grid.axes:
        units = {"units": grid.units.get(axis, "1")}
        labels[axis] = ((axis,), np.asarray(grid.coordinates[axis]), units | data[axis].attrs)
    for name, coordinate in data.coords.items():
        if name not in labels and "time" not in coordinate.dims and name != "time":
            labels[str(name)] = (coordinate.dims, coordinate.values, dict(coordinate.attrs))
    return labels


def _broadcast(array: xr.DataArray, dims: tuple[str, ...]) -> np.ndarray:
    """Values in the order of `dims`, length 1 where the array lacks one."""
    ordered = array.transpose(*(dim for dim in dims if dim in array.dims))
    index = tuple(slice(None) if dim in array.dims else None for dim in dims)
    return ordered.values[index]


def _check_feedback(description: FieldsDescription, dataset: xr.Dataset) -> None:
    count = len(description.targets)
    if description.inputs[:count] != description.targets:
        raise ValueError(
            f"a model that predicts {', '.join(description.targets)} from "
            f"{', '.join(description.inputs)} cannot be rolled out: its inputs must begin with "
            "its targets"
        )
    for name in description.inputs[count:]:
        if name in dataset and "time" in dataset[name].dims:
            raise ValueError(
                f"the model needs {name!r} at every time but does not predict it, so it cannot "
                "be rolled out"
            )


def _with_positions(dataset: xr.Dataset, description: FieldsDescription) -> xr.Dataset:
    """Axes that the data give no coordinate for get that of training."""
    for axis in description.axes:
        if axis not in dataset.coords:
            attrs = {"periodic": int(description.periodic.get(axis, False))}
            values = axis_values(dataset, axis, description)
            dataset = dataset.assign_coords({axis: (axis, values, attrs)})
    return dataset


def _time(dataset: xr.Dataset, description: FieldsDescription) -> xr.Dataset:
    """Every n-th frame, so that the data's time step is the model's."""
    if "time" not in dataset.dims:
        if description.input_steps is not None:
            raise ValueError("the data have no time axis, the model needs a window of frames")
        return dataset
    step = frame_step(dataset, description)
    if description.time_step is None or step is None:
        return dataset
    ratio = description.time_step / step
    stride = round(ratio)
    if stride < 1 or abs(ratio - stride) > 1e-3 * ratio:
        raise ValueError(
            f"the data have a time step of {step:g}, the model one of {description.time_step:g}: "
            "the model's must be a whole multiple of the data's"
        )
    return dataset.isel(time=slice(None, None, stride))


def _space(dataset: xr.Dataset, description: FieldsDescription) -> xr.Dataset:
    """Every n-th point, where that gives the model's own grid; otherwise the data's grid."""
    strides = {}
    for axis, points in zip(description.axes, description.shape, strict=True):
        stride = max(round(dataset.sizes[axis] / points), 1)
        trained = np.asarray(description.coordinates.get(axis, ()))
        found = dataset[axis].values[::stride]
        if len(found) == len(trained) and np.allclose(found, trained, atol=1e-4 * np.ptp(found)):
            strides[axis] = slice(None, None, stride)
    return dataset.isel(strides) if len(strides) == len(description.axes) else dataset
