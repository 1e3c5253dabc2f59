"""Labelled arrays through a surrogate: coordinates, units and attributes come out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.compatibility import (
    axis_values,
    check_grid,
    check_span,
    check_time,
    check_variables,
)
from surform.data.description import FieldsDescription
from surform.rollout.stepping import rollout

if TYPE_CHECKING:
    from surform.operators.surrogate import FieldSurrogate

__all__ = ["predict"]


def predict(
    model: FieldSurrogate,
    dataset: xr.Dataset,
    steps: int | None = None,
    *,
    batch_size: int = 8,
    any_grid: bool = False,
) -> xr.Dataset:
    """Predict the target variables of a dataset; read piece by piece, so it may be lazy.

    A steady model maps every sample (and every frame, where there are several). A time-window
    model takes the last frames of the dataset and predicts those that follow; `steps` beyond what
    it gives in one call are rolled out.

    Args:
        model: trained, with a description of its data.
        dataset: the input variables and parameters over ("sample", "time", *axes), in any order;
            "sample" and "time" may be absent. Units, where given, must be the trained ones.
        steps: frames to predict; default: as many as the model gives in one call.
        batch_size: samples in one call of the network.
        any_grid: accept another spacing or range than the trained ones.

    Returns:
        The targets over the same dims and coordinates, with the units and attributes they had in
        the dataset or in training; "time" holds the predicted times. Targets on axes of their own
        get the coordinates of training. A model with intervals (`surform.uncertainty.Conformal`)
        adds `<target>_quantiles` over a further dim "quantile".

    Raises:
        ValueError: variables, units, axes, spacing, time step or values that do not fit.
    """
    about = model.description
    if about is None:
        raise ValueError(
            "this model has no description of its data, so labelled arrays cannot be checked: "
            "call model(inputs, coordinates) with tensors, or fit_to(...) first"
        )
    if steps is not None and (steps < 1 or not model.time_window):
        what = "steady" if not model.time_window else "asked for fewer than one step"
        raise ValueError(f"`steps` is {steps}, but the model is {what}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}, but must be at least 1")
    check_variables(dataset, about)
    empty = [dim for dim in ("sample", "time", *about.axes) if dataset.sizes.get(dim) == 0]
    if empty:
        raise ValueError(f"the data are empty along {', '.join(empty)}: nothing to predict from")
    bound = _bound_to_its_points(model, about)
    if not any_grid:
        check_grid(dataset, about, adaptable=not bound)
    elif bound and tuple(dataset.sizes[axis] for axis in about.axes) != about.shape:
        raise ValueError(
            "this model was normalised point by point, so it predicts only on a grid of "
            f"{' x '.join(map(str, about.shape))} points: interpolate the data to it"
        )
    check_span(dataset, about)
    if not model.time_window and "time" in dataset.dims:
        frames = [dataset.isel(time=i) for i in range(dataset.sizes["time"])]
        done = [predict(model, f, batch_size=batch_size, any_grid=any_grid) for f in frames]
        joined = xr.concat(done, dim="time").transpose(..., *about.output_axes)
        return joined.transpose("sample", ...) if "sample" in joined.dims else joined
    check_time(dataset, about)
    values, quantiles = _run(model, dataset, about, steps, batch_size)
    found = _labelled(values, dataset, about)
    if quantiles is None:
        return found
    bounds = [_labelled(bound, dataset, about) for bound in quantiles]
    levels = xr.DataArray(list(model.levels), dims="quantile", name="quantile")  # type: ignore[arg-type]
    stacked = xr.concat(bounds, dim=levels).transpose(..., "quantile")
    return found.assign({f"{name}_quantiles": stacked[name] for name in about.targets})


def _bound_to_its_points(model: FieldSurrogate, about: FieldsDescription) -> bool:
    """Whether statistics on the grid of the data differ from point to point."""
    known = [model.input_normalizer] if about.target_axes else model.normalizers().values()
    return any(points > 1 for module in known for points in module.mean.shape[:-1])


def _run(
    model: FieldSurrogate,
    dataset: xr.Dataset,
    about: FieldsDescription,
    steps: int | None,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predictions `(samples, [steps,] *grid, C_out)`, and their quantiles `(levels, ...)`."""
    weight = next(model.parameters(), model.input_normalizer.mean)
    coordinates = tuple(
        torch.as_tensor(axis_values(dataset, axis, about)).to(weight) for axis in about.axes
    )
    if "sample" not in dataset.dims:
        dataset = dataset.expand_dims("sample")
    training = model.training
    model.eval()
    parts: list[np.ndarray] = []
    bounds: list[np.ndarray] = []
    try:
        with torch.inference_mode():
            for start in range(0, dataset.sizes["sample"], batch_size):
                piece = dataset.isel(sample=slice(start, start + batch_size))
                inputs = torch.from_numpy(_inputs(piece, about, start)).to(weight)
                output = _step(model, inputs, coordinates, steps)
                parts.append(output.cpu().numpy())
                if hasattr(model, "around"):
                    members = getattr(model.model, "members", ())
                    each = [_step(member, inputs, coordinates, steps) for member in members]
                    spread = torch.stack(each).std(0) if model.scaled else None
                    bounds.append(model.around(output, spread).cpu().numpy())  # type: ignore[operator]
    finally:
        model.train(training)
    return np.concatenate(parts), np.concatenate(bounds, 1) if bounds else None


def _step(
    model: FieldSurrogate,
    inputs: Tensor,
    coordinates: tuple[Tensor, ...],
    steps: int | None,
) -> Tensor:
    most = getattr(model.net, "max_steps", 0)  # what one call gives, which the data do not tell
    if steps is None or steps <= most:
        return model(inputs, coordinates, steps)
    return torch.stack(list(rollout(model, inputs, coordinates, steps)), dim=1)


def _inputs(piece: xr.Dataset, about: FieldsDescription, first: int) -> np.ndarray:
    """`(samples, [T_in,] *grid, C)`: input variables, then parameters spread over the grid."""
    dims = ("sample", *(("time",) if about.input_steps else ()), *about.axes)
    if about.input_steps:
        if "time" not in piece.dims:
            piece = piece.expand_dims("time")
        piece = piece.isel(time=slice(-about.input_steps, None))
    shape = tuple(piece.sizes[dim] for dim in dims)
    channels = []
    for name in (*about.inputs, *about.parameters):
        array = piece[name]
        ordered = array.transpose(*(dim for dim in dims if dim in array.dims))
        index = tuple(slice(None) if dim in array.dims else None for dim in dims)
        values = np.asarray(ordered.values)[index]
        if not np.isfinite(values).all():
            place = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"variable {name!r} holds {values[tuple(place)]} in sample {first + place[0]}, "
                f"at index {tuple(int(i) for i in place[1:])}"
            )
        channels.append(np.broadcast_to(values, shape))
    return np.stack(channels, axis=-1)


def _labelled(values: np.ndarray, dataset: xr.Dataset, about: FieldsDescription) -> xr.Dataset:
    sample = ("sample",) if "sample" in dataset.dims else ()
    time = ("time",) if about.input_steps else ()
    dims = (*sample, *time, *about.output_axes)
    shared = set(about.axes).intersection(about.output_axes)
    kept = {
        name: coordinate
        for name, coordinate in dataset.coords.items()
        if set(coordinate.dims) <= {*sample, *shared} and not (time and name == "time")
    }
    for axis, points in zip(about.output_axes, values.shape[1 + len(time) : -1], strict=True):
        if axis not in kept:
            found = axis_values(dataset, axis, about) if axis in shared else None
            kept[axis] = _axis(axis, points, about, found)
    if time:
        kept["time"] = _times(dataset, about, values.shape[1])
    if not sample:
        values = values[0]
    variables = {}
    for channel, name in enumerate(about.targets):
        attributes = dict(dataset[name].attrs) if name in dataset.variables else {}
        attributes.setdefault("units", about.units.get(name, "1"))
        variables[name] = (dims, values[..., channel], attributes)
    return xr.Dataset(variables, coords=kept, attrs=dict(dataset.attrs))


def _axis(
    axis: str, points: int, about: FieldsDescription, found: np.ndarray | None
) -> xr.DataArray:
    values = np.asarray(about.coordinates[axis] if found is None else found, float)
    if len(values) != points:
        raise ValueError(
            f"the model gives {points} points along {axis!r}, it was trained with {len(values)}: "
            "predict on the grid of training"
        )
    attributes: dict[str, object] = {"units": about.units.get(axis, "1")}
    if found is None and axis in about.periodic:
        attributes["periodic"] = int(about.periodic[axis])
    return xr.DataArray(values, dims=axis, attrs=attributes)


def _times(dataset: xr.Dataset, about: FieldsDescription, steps: int) -> xr.DataArray:
    step = about.time_step or 1.0
    attributes = {"units": about.units.get("time", "1")}
    last = 0.0
    if "time" in dataset.coords:
        attributes |= dataset["time"].attrs
        last = float(np.atleast_1d(dataset["time"].values)[-1])
    return xr.DataArray(last + step * np.arange(1, steps + 1), dims="time", attrs=attributes)
