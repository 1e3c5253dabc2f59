"""Check a data set against a selection, and say what the selected part looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surform.data.faults import closest
from surform.data.selection import Selection
from surform.data.units import check_unit

__all__ = ["Layout", "resolve"]


@dataclass(frozen=True)
class Layout:
    """The selected part of a data set.

    Args:
        samples: how many there are.
        frames: frames per sample after `time_stride`; 1 for steady problems.
        timed: variables with a time axis.
        axes: spatial axes, in array order.
        strides: spatial stride per axis.
        coordinates: positions per axis after sub-sampling, float64.
        periodic: per axis.
        units: of all selected variables, parameters, axes and, with time windows, of "time".
        time_step: time between selected frames; None when steady.
    """

    samples: int
    frames: int
    timed: frozenset[str]
    axes: tuple[str, ...]
    strides: tuple[int, ...]
    coordinates: Mapping[str, np.ndarray]
    periodic: Mapping[str, bool]
    units: Mapping[str, str]
    time_step: float | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis after sub-sampling."""
        return tuple(len(self.coordinates[axis]) for axis in self.axes)


def resolve(selection: Selection, dataset: xr.Dataset, where: str) -> Layout:
    """Check names, axes, frames, coordinates and units; `where` names the data in errors."""
    for name in (*selection.fields, *selection.parameters):
        if name not in dataset.data_vars:
            raise ValueError(f"{where} has no variable {name!r}: {closest(name, _names(dataset))}")
    dims = _dims(dataset, selection.inputs[0])
    axes = tuple(d for d in dims if d not in ("sample", "time"))
    if not axes:
        raise ValueError(
            f"{where}: variable {selection.inputs[0]} has axes {dims} and no grid; scalars per "
            "sample belong under parameters"
        )
    for name in selection.fields:
        _check_axes(selection, dataset, name, axes, where)
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
    return Layout(
        samples=dataset.sizes["sample"],
        frames=_frames(selection, dataset, where) if selection.windowed else 1,
        timed=timed,
        axes=axes,
        strides=strides,
        coordinates={
            axis: _coordinate(dataset, axis, where)[::stride]
            for axis, stride in zip(axes, strides, strict=True)
        },
        periodic={axis: _is_periodic(dataset, axis) for axis in axes},
        units=_units(selection, dataset, axes, where),
        time_step=_time_step(selection, dataset, where) if selection.windowed else None,
    )


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset.data_vars]


def _dims(dataset: xr.Dataset, name: str) -> tuple[str, ...]:
    return tuple(map(str, dataset[name].dims))


def _check_axes(
    selection: Selection, dataset: xr.Dataset, name: str, axes: tuple[str, ...], where: str
) -> None:
    dims = _dims(dataset, name)
    found = tuple(d for d in dims if d not in ("sample", "time"))
    if found != axes:
        raise ValueError(
            f"{where}: variable {name} lies on the axes {found}, {selection.inputs[0]} on {axes}"
        )
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


def _is_periodic(dataset: xr.Dataset, axis: str) -> bool:
    return axis in dataset.coords and bool(dataset[axis].attrs.get("periodic", 0))


def _units(
    selection: Selection, dataset: xr.Dataset, axes: tuple[str, ...], where: str
) -> dict[str, str]:
    names = [*selection.fields, *selection.parameters, *axes]
    names += ["time"] if selection.windowed else []
    units = {}
    for name in names:
        attrs = dataset[name].attrs if name in dataset.variables else {}
        units[name] = str(attrs.get("units", "1"))
        check_unit(units[name], f"{where}, variable {name}")
    return units
