"""Check a data set against a selection, and say what the selected part looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surform.data.faults import closest
from surform.data.selection import Selection

__all__ = ["Layout", "resolve"]


@dataclass(frozen=True)
class Layout:
    """The selected part of a data set.

    Args:
        samples: how many there are.
        frames: frames per sample after `time_stride`; 1 for steady problems.
        timed: variables with a time axis.
        axes: spatial axes of the inputs, in array order.
        target_axes: of the targets; other than `axes` in some steady problems.
        variable_axes: per selected field.
        strides: spatial stride per axis of the inputs; other axes are kept whole.
        coordinates: positions per axis after sub-sampling, float64.
        periodic: per axis.
        units: of all selected variables, parameters, axes and, with time windows, of "time".
        time_step: time between selected frames; None when steady.
        times: of the selected frames; None when steady.
    """

    samples: int
    frames: int
    timed: frozenset[str]
    axes: tuple[str, ...]
    target_axes: tuple[str, ...]
    variable_axes: Mapping[str, tuple[str, ...]]
    strides: tuple[int, ...]
    coordinates: Mapping[str, np.ndarray]
    periodic: Mapping[str, bool]
    units: Mapping[str, str]
    time_step: float | None
    times: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis of the inputs, after sub-sampling."""
        return tuple(len(self.coordinates[axis]) for axis in self.axes)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Points per axis of the targets, after sub-sampling."""
        return tuple(len(self.coordinates[axis]) for axis in self.target_axes)

    @property
    def all_axes(self) -> tuple[str, ...]:
        """Axes of inputs and targets, each once."""
        return tuple(dict.fromkeys((*self.axes, *self.target_axes)))

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Points per axis of a field, after sub-sampling."""
        return tuple(len(self.coordinates[axis]) for axis in self.variable_axes[name])

    def strides_of(self, name: str) -> tuple[int, ...]:
        """Spatial stride per axis of a field."""
        strides = dict(zip(self.axes, self.strides, strict=True))
        return tuple(strides.get(axis, 1) for axis in self.variable_axes[name])


def resolve(selection: Selection, dataset: xr.Dataset, where: str) -> Layout:
    """Check names, axes, frames and coordinates; `where` names the data in errors."""
    for name in (*selection.fields, *selection.parameters):
        if name not in dataset.data_vars:
            raise ValueError(f"{where} has no variable {name!r}: {closest(name, _names(dataset))}")
    axes = _grid(dataset, selection.inputs[0], where)
    target_axes = _grid(dataset, selection.targets[0], where)
    if selection.windowed or set(target_axes) == set(axes):
        target_axes = axes
    for name in selection.fields:
        _check_time(selection, dataset, name, where)
    for names, grids in (
        (selection.inputs, (axes,)),
        (selection.targets, (target_axes,)),
        (selection.auxiliary, (axes, target_axes)),
    ):
        for name in names:
            _check_axes(selection, dataset, name, grids, where)
    for name in selection.parameters:
        if _dims(dataset, name) != ("sample",):
            raise ValueError(
                f"{where}: parameter {name} has axes {_dims(dataset, name)}, expected ('sample',); "
                "fields belong under inputs"
            )
    timed = frozenset(n for n in selection.fields if "time" in _dims(dataset, n))
    if selection.windowed and not timed.intersection(selection.inputs):
        raise ValueError(
            f"{where}: none of the inputs {', '.join(selection.inputs)} has a time axis"
        )
    strides = _strides(selection, axes)
    stride_of = dict(zip(axes, strides, strict=True))
    every_axis = tuple(dict.fromkeys((*axes, *target_axes)))
    return Layout(
        samples=dataset.sizes["sample"],
        frames=_frames(selection, dataset, where) if selection.windowed else 1,
        timed=timed,
        axes=axes,
        target_axes=target_axes,
        variable_axes={name: _grid(dataset, name, where) for name in selection.fields},
        strides=strides,
        coordinates={
            axis: _coordinate(dataset, axis, where)[:: stride_of.get(axis, 1)]
            for axis in every_axis
        },
        periodic={axis: _is_periodic(dataset, axis) for axis in every_axis},
        units=_units(selection, dataset, every_axis),
        time_step=_time_step(selection, dataset, where) if selection.windowed else None,
        times=_times(selection, dataset, where) if selection.windowed else None,
    )


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset.data_vars]


def _dims(dataset: xr.Dataset, name: str) -> tuple[str, ...]:
    return tuple(map(str, dataset[name].dims))


def _grid(dataset: xr.Dataset, name: str, where: str) -> tuple[str, ...]:
    dims = _dims(dataset, name)
    axes = tuple(d for d in dims if d not in ("sample", "time"))
    if not axes:
        raise ValueError(
            f"{where}: variable {name} has axes {dims} and no grid; scalars per sample belong "
            "under parameters"
        )
    return axes


def _check_axes(
    selection: Selection,
    dataset: xr.Dataset,
    name: str,
    grids: tuple[tuple[str, ...], ...],
    where: str,
) -> None:
    found = _grid(dataset, name, where)
    if found not in grids:
        named = (selection.inputs[0], selection.targets[0])
        first = next(other for other in named if _grid(dataset, other, where) == grids[0])
        hint = "; only steady problems may have targets on other axes" * selection.windowed
        raise ValueError(
            f"{where}: variable {name} lies on the axes {found}, {first} on {grids[0]}{hint}"
        )


def _check_time(selection: Selection, dataset: xr.Dataset, name: str, where: str) -> None:
    dims = _dims(dataset, name)
    if "time" in dims and not selection.windowed:
        raise ValueError(
            f"{where}: variable {name} has {dataset.sizes['time']} frames: set input_steps and "
            "target_steps"
        )
    if selection.windowed and "time" not in dims and name not in selection.inputs:
        raise ValueError(
            f"{where}: variable {name} has no time axis, so it cannot be a target of time windows"
        )


def _strides(selection: Selection, axes: tuple[str, ...]) -> tuple[int, ...]:
    stride = selection.space_stride
    if isinstance(stride, int):
        return (stride,) * len(axes)
    if len(stride) != len(axes):
        raise ValueError(f"space_stride has {len(stride)} numbers for the axes {', '.join(axes)}")
    return stride


def _frames(selection: Selection, dataset: xr.Dataset, where: str) -> int:
    stored = dataset.sizes["time"]
    frames = len(range(0, stored, selection.time_stride))
    if frames < selection.window_frames:
        raise ValueError(
            f"{where} has {stored} frames per sample, {frames} with time_stride "
            f"{selection.time_stride}; one window needs input_steps + target_steps = "
            f"{selection.input_steps} + {selection.target_steps} = {selection.window_frames}"
        )
    return frames


def _coordinate(dataset: xr.Dataset, axis: str, where: str) -> np.ndarray:
    if axis not in dataset.coords:
        return np.arange(dataset.sizes[axis], dtype=np.float64)
    values = np.asarray(dataset[axis].values)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{where}: coordinate {axis} holds {values.dtype}, expected numbers")
    values = values.astype(np.float64)
    steps = np.diff(values)
    forward = axis == "time" or len(steps) == 0 or steps[0] > 0
    bad = ~np.isfinite(steps) | (steps <= 0 if forward else steps >= 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"{where}: coordinate {axis} is not monotonic: {values[i]:g} at index {i} is followed "
            f"by {values[i + 1]:g}"
        )
    return values


def _time_step(selection: Selection, dataset: xr.Dataset, where: str) -> float:
    times = _coordinate(dataset, "time", where)
    steps = np.diff(times)
    # float32 times of long runs are only this accurate
    tolerance = 1e-3 * steps[0] + 4 * np.finfo(np.float32).eps * np.abs(times).max()
    uneven = np.abs(steps - steps[0]) > tolerance
    if uneven.any():
        i = int(np.argmax(uneven))
        raise ValueError(
            f"{where}: frames are not evenly spaced in time: the step is {steps[0]:g} at index 0 "
            f"and {steps[i]:g} at index {i}"
        )
    return float((times[-1] - times[0]) / (len(times) - 1)) * selection.time_stride


def _times(selection: Selection, dataset: xr.Dataset, where: str) -> np.ndarray:
    return _coordinate(dataset, "time", where)[:: selection.time_stride]


def _is_periodic(dataset: xr.Dataset, axis: str) -> bool:
    return axis in dataset.coords and bool(dataset[axis].attrs.get("periodic", 0))


def _units(selection: Selection, dataset: xr.Dataset, axes: tuple[str, ...]) -> dict[str, str]:
    names = [*selection.fields, *selection.parameters, *axes]
    names += ["time"] if selection.windowed else []
    units = {}
    for name in names:
        attrs = dataset[name].attrs if name in dataset.variables else {}
        units[name] = str(attrs.get("units", "1"))
    return units
