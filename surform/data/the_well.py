"""The HDF5 layout of The Well (Ohana et al., NeurIPS 2024) as one xarray layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from surform.data.lazy_arrays import Part, lazy_variable
from surform.data.open_files import OpenFiles, Stored

__all__ = ["is_the_well", "open_the_well"]


def is_the_well(file: Any) -> bool:
    """Whether the file has the groups of The Well."""
    return "t0_fields" in file and "dimensions" in file


def open_the_well(file: Any, path: str, files: OpenFiles) -> xr.Dataset:
    """Fields `(sample, time, *axes)`, without the time axis where they do not vary in time.

    Vector and tensor fields become one variable per component (velocity_x, stress_xy); scalars
    become variables over the samples; an axis whose boundary type is "periodic" is marked so.
    """
    axes = [_text(name) for name in file["dimensions"].attrs["spatial_dims"]]
    samples = int(file.attrs["n_trajectories"])
    coords: dict[str, Any] = {}
    for name in ("time", *axes):
        attrs: dict[str, Any] = {"units": "1"}
        if name in axes:
            attrs["periodic"] = int(_is_periodic(file, name))
        coords[name] = (name, _coordinate(file, name, path), attrs)
    sizes = {"sample": samples, **{name: len(values) for name, (_, values, _) in coords.items()}}
    variables: dict[str, xr.Variable] = {}
    for order in (0, 1, 2):
        for name, variable in _fields(file, order, axes, sizes, path, files):
            variables[name] = variable
    for name, stored in file.get("scalars", {}).items():
        variables[name] = _variable(stored, [], None, sizes, path, files)
    attrs = {
        key: _text(file.attrs[key]) for key in ("dataset_name", "grid_type") if key in file.attrs
    }
    return xr.Dataset(variables, coords, {"layout": "the_well", **attrs})


def _fields(
    file: Any, order: int, axes: list[str], sizes: dict[str, int], path: str, files: OpenFiles
) -> Iterator[tuple[str, xr.Variable]]:
    for name, stored in file.get(f"t{order}_fields", {}).items():
        for component in product(range(len(axes)), repeat=order):
            suffix = "".join(axes[i] for i in component)
            label = f"{name}_{suffix}" if suffix else name
            yield label, _variable(stored, axes, component, sizes, path, files)


def _variable(
    stored: Any,
    axes: list[str],
    component: tuple[int, ...] | None,
    sizes: dict[str, int],
    path: str,
    files: OpenFiles,
) -> xr.Variable:
    dims = ("sample", *(["time"] if bool(stored.attrs["time_varying"]) else []), *axes)
    varies = {"sample": bool(stored.attrs["sample_varying"]), "time": True}
    varies |= dict(zip(axes, map(bool, stored.attrs.get("dim_varying", [])), strict=False))
    component = component or ()
    trailing = 0 if component == () else len(component)
    own = stored.ndim - trailing
    # a scalar that varies with nothing may be stored with shape () or (1,)
    if not axes and own > sum(varies[name] for name in dims):
        return xr.Variable(dims, np.full([sizes[name] for name in dims], np.ravel(stored[()])[0]))
    # an axis along which the field does not vary is either left out or has length 1
    kept = [name for name in dims if varies[name] or own == len(dims) - (not varies["sample"])]
    kept = [name for name in kept if name != "sample" or varies["sample"]]
    if own != len(kept):
        raise ValueError(
            f"{path}: {stored.name} has shape {stored.shape}, expected axes {', '.join(kept)}"
            + (f" and {trailing} for the components" if trailing else "")
        )
    position = {name: axis for axis, name in enumerate(kept)}
    for name, axis in position.items():
        if stored.shape[axis] not in (sizes[name], *([1] if not varies[name] else [])):
            raise ValueError(
                f"{path}: {stored.name} has {stored.shape[axis]} points along {name}, "
                f"the file has {sizes[name]}"
            )
    fixed = {own + i: index for i, index in enumerate(component)}
    array = Stored(files, path, stored.name, stored.shape, stored.dtype, stored.chunks)
    part = Part(array, [position.get(n) for n in dims], [sizes[n] for n in dims], fixed)
    return lazy_variable(dims, part)


def _coordinate(file: Any, name: str, path: str) -> np.ndarray:
    stored = file["dimensions"][name]
    values = np.asarray(stored)
    if stored.attrs.get("sample_varying", False):
        if not (values == values[:1]).all():
            raise ValueError(f"{path}: coordinate {name} differs between samples: not supported")
        values = values[0]
    if values.ndim != 1:
        raise ValueError(f"{path}: coordinate {name} has shape {values.shape}, expected one axis")
    return values


def _is_periodic(file: Any, axis: str) -> bool:
    conditions = file.get("boundary_conditions", {})
    return any(
        _text(group.attrs.get("bc_type", "")).lower() == "periodic"
        and axis in [_text(name) for name in group.attrs.get("associated_dims", [])]
        for group in conditions.values()
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
