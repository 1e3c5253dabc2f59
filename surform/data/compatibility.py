"""Does a labelled dataset fit what a model was trained on? One sentence when it does not."""

from __future__ import annotations

import numpy as np
import xarray as xr

from surform.data.description import FieldsDescription
from surform.data.faults import closest
from surform.data.units import conversion_factor, same_unit

__all__ = [
    "axis_values",
    "check_grid",
    "check_span",
    "check_time",
    "check_variables",
    "frame_step",
]

_CLOSE = 1e-3  # relative to the spacing: coordinates are often stored in float32


def check_variables(dataset: xr.Dataset, about: FieldsDescription) -> None:
    """ValueError for a missing variable or axis, unknown dims, or other units."""
    for name in (*about.inputs, *about.parameters):
        if name not in dataset.variables:
            raise ValueError(
                f"the data have no variable {name!r}: {closest(name, map(str, dataset.data_vars))}"
            )
        extra = sorted(map(str, set(dataset[name].dims) - {"sample", "time", *about.axes}))
        if extra:
            raise ValueError(
                f"variable {name!r} has the dims {', '.join(extra)}, which the model does not "
                f"know: select from them, or rename them to sample, time, {', '.join(about.axes)}"
            )
    for name in (*about.inputs, *about.parameters, *about.axes, "time"):
        _check_unit(dataset, name, about.units.get(name))
    for axis in about.axes:
        if axis not in dataset.dims:
            raise ValueError(
                f"the data have no axis {axis!r}: {closest(axis, map(str, dataset.dims))}"
            )


def check_grid(dataset: xr.Dataset, about: FieldsDescription, *, adaptable: bool = True) -> None:
    """ValueError unless every axis has the trained points, or a part of an evenly spaced axis.

    `adaptable`: the model could predict on another number of points, if it were asked to.
    """
    for axis in about.axes:
        trained = np.asarray(about.coordinates.get(axis, ()), float)
        if trained.size < 2:
            continue
        found = axis_values(dataset, axis, about)
        spacing, expected = _spacing(found), _spacing(trained)
        possible = adaptable or found.size == trained.size
        hint = "; any_grid=True (--any-grid) predicts all the same" if possible else ""
        if abs(spacing - expected) > _CLOSE * abs(expected):
            raise ValueError(
                f"axis {axis!r} has a spacing of {spacing:g}, the model was trained with "
                f"{expected:g}{_stride_hint(axis, expected / spacing if spacing else 0)}{hint}"
            )
        slack = _CLOSE * abs(expected) * trained.size
        low, high = trained.min() - slack, trained.max() + slack
        whole = not about.periodic.get(axis, False) or found.size == trained.size
        if not whole or found.min() < low or found.max() > high:
            raise ValueError(
                f"axis {axis!r} has {found.size} points from {found.min():g} to {found.max():g}, "
                f"the model was trained on {trained.size} from {trained.min():g} to "
                f"{trained.max():g}{hint}"
            )
        off = np.abs(found - trained) if found.size == trained.size else np.zeros(1)
        if off.max() > slack:  # such as points that are dense at walls beside even ones
            at = int(off.argmax())
            raise ValueError(
                f"axis {axis!r} has its point {at} at {found[at]:g}, the model was trained with it "
                f"at {trained[at]:g}{hint}"
            )


def check_span(dataset: xr.Dataset, about: FieldsDescription) -> None:
    """ValueError unless the data span the trained domain, where targets have axes of their own.

    Such targets belong to the whole domain: for a part of it their coordinates are unknown.
    """
    for axis in about.axes if about.target_axes else ():
        trained = np.asarray(about.coordinates.get(axis, ()), float)
        if trained.size < 2:
            continue
        found = axis_values(dataset, axis, about)
        spacings = abs(_spacing(found)), abs(_spacing(trained))
        # Where a periodic or cell-centred grid ends depends on its spacing.
        slack = abs(spacings[0] - spacings[1]) + _CLOSE * max(spacings)
        if max(abs(found[0] - trained[0]), abs(found[-1] - trained[-1])) > slack:
            raise ValueError(
                f"axis {axis!r} runs from {found[0]:g} to {found[-1]:g}, the model was trained on "
                f"{trained[0]:g} to {trained[-1]:g}: its targets on "
                f"{', '.join(about.target_axes)} need the whole domain"
            )


def check_time(dataset: xr.Dataset, about: FieldsDescription) -> None:
    """ValueError when there are too few frames or they are not the model's time step apart."""
    window = about.input_steps or 1
    frames = dataset.sizes.get("time", 1)
    if frames < window:
        raise ValueError(f"the model needs {window} frames, the data have {frames}")
    if "time" not in dataset.coords or dataset["time"].ndim == 0 or window < 2:
        return
    steps = np.diff(_numbers(dataset["time"].values[-window:], about))
    if about.time_step is None or np.allclose(steps, about.time_step, rtol=_CLOSE, atol=0):
        return
    hint = _stride_hint("time", about.time_step / steps[0] if steps[0] else 0)
    raise ValueError(
        f"the data have a time step of {steps[0]:g}, the model one of {about.time_step:g}{hint}"
    )


def frame_step(dataset: xr.Dataset, about: FieldsDescription) -> float | None:
    """The time between frames, where there are times; ValueError unless it is always the same."""
    if "time" not in dataset.coords or dataset.sizes.get("time", 1) < 2:
        return None
    times = _numbers(dataset["time"].values, about)
    steps = np.diff(times)
    # float32 times of long runs are only this accurate
    slack = _CLOSE * abs(steps[0]) + 4 * np.finfo(np.float32).eps * np.abs(times).max()
    uneven = ~(np.abs(steps - steps[0]) <= slack) | ~(steps > 0)
    if uneven.any():
        i = int(np.argmax(uneven))
        raise ValueError(
            "the frames are not evenly spaced in time: the step is "
            f"{steps[0]:g} at index 0 and {steps[i]:g} at index {i}"
        )
    return float(times[-1] - times[0]) / len(steps)


def _numbers(times: np.ndarray, about: FieldsDescription) -> np.ndarray:
    if times.dtype.kind not in "fiu":
        raise ValueError(
            f"the coordinate 'time' holds {times.dtype}: give numbers in "
            f"{about.units.get('time', '1')!r}"
        )
    return times.astype(float)


def axis_values(dataset: xr.Dataset, axis: str, about: FieldsDescription) -> np.ndarray:
    """Positions along an axis; those of the training grid where the data give none."""
    if axis in dataset.coords:
        return np.array(dataset[axis].values, float)  # a copy: indexes are read-only
    trained = about.coordinates.get(axis, [])
    if dataset.sizes[axis] != len(trained):
        raise ValueError(
            f"the data give no coordinate {axis!r}, and their {dataset.sizes[axis]} points are "
            f"not the {len(trained)} that the model was trained on"
        )
    return np.asarray(trained, float)


def _check_unit(dataset: xr.Dataset, name: str, expected: str | None) -> None:
    found = dataset[name].attrs.get("units") if name in dataset.variables else None
    if found is None or expected is None or same_unit(str(found), expected):
        return
    factor = conversion_factor(str(found), expected)
    hint = f": multiply it by {factor:g}" if factor else ""
    raise ValueError(
        f"{name!r} is in {found!r} in the data, the model was trained in {expected!r}{hint}"
    )


def _spacing(values: np.ndarray) -> float:
    return float(values[-1] - values[0]) / (values.size - 1) if values.size > 1 else 0.0


def _stride_hint(axis: str, ratio: float) -> str:
    stride = round(ratio)
    if stride < 2 or abs(ratio - stride) > _CLOSE * stride:
        return ""
    return f"; take dataset.isel({axis}=slice(None, None, {stride}))"
