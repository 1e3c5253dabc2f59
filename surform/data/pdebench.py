"""The HDF5 layouts of PDEBench (Takamoto et al., NeurIPS 2022) as one xarray layout."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import xarray as xr

from surform.data.lazy_arrays import Concatenated, Part, lazy_variable
from surform.data.open_files import OpenFiles, Stored

__all__ = ["is_pdebench", "open_pdebench"]

_AXES = ("x", "y", "z")


def is_pdebench(file: Any) -> bool:
    """Whether the file has one of the PDEBench layouts."""
    return "x-coordinate" in file or _is_incompressible(file) or bool(_sample_groups(file))


def open_pdebench(file: Any, path: str, files: OpenFiles) -> xr.Dataset:
    """Fields `(sample, time, *axes)`; steady ones, such as Darcy flow, `(sample, *axes)`.

    Four layouts exist: arrays over all samples with "x-coordinate" beside them (advection,
    Burgers, compressible flow, Darcy), one group per sample with "data" `(t, *axes, channel)`
    and "grid" inside (diffusion-reaction, diffusion-sorption, shallow water), and arrays with
    channels, times per sample and no grid (incompressible flow). Several channels of "data" are
    named data_0, data_1, ...; PDEBench stores no units and no boundary conditions.
    """
    if _is_incompressible(file):
        return _open_incompressible(file, path, files)
    groups = _sample_groups(file)
    if groups:
        return _open_groups(file, groups, path, files)
    return _open_arrays(file, path, files)


def _sample_groups(file: Any) -> list[str]:
    return sorted(
        name for name in file if name.isdigit() and isinstance(file[name], h5py.Group)
        and "data" in file[name]
    )  # fmt: skip


def _open_arrays(file: Any, path: str, files: OpenFiles) -> xr.Dataset:
    axes = [axis for axis in _AXES if f"{axis}-coordinate" in file]
    coordinates = {axis: np.asarray(file[f"{axis}-coordinate"]) for axis in axes}
    grid = tuple(len(coordinates[axis]) for axis in axes)
    times = np.asarray(file["t-coordinate"]) if "t-coordinate" in file else None
    variables: dict[str, xr.Variable] = {}
    for name, stored in file.items():
        if name.endswith("-coordinate") or not isinstance(stored, h5py.Dataset):
            continue
        array = _stored(files, path, name, stored)
        if stored.shape[1:] == grid:
            dims: tuple[str, ...] = ("sample", *axes)
            part = Part(array, range(stored.ndim), stored.shape)
        elif stored.shape[2:] == grid and stored.shape[1] == 1:
            dims = ("sample", *axes)  # Darcy: the solution has a time axis of length 1
            stored_axes = (0, *range(2, stored.ndim))
            part = Part(array, stored_axes, (stored.shape[0], *grid), fixed={1: 0})
        elif stored.shape[2:] == grid:
            dims = ("sample", "time", *axes)
            part = Part(array, range(stored.ndim), stored.shape)
        else:
            raise ValueError(
                f"{path}: variable {name} has shape {stored.shape}, which does not end with the "
                f"grid {grid} of the coordinates {', '.join(axes)}"
            )
        variables[name] = lazy_variable(dims, part)
    return _dataset(variables, coordinates, times, path, file)


def _open_groups(file: Any, groups: list[str], path: str, files: OpenFiles) -> xr.Dataset:
    first = file[groups[0]]
    shape = first["data"].shape
    for name in groups:
        if file[name]["data"].shape != shape:
            raise ValueError(
                f"{path}: sample {name} has shape {file[name]['data'].shape}, "
                f"sample {groups[0]} has {shape}; all samples must agree"
            )
    axes = [axis for axis in _AXES if axis in first["grid"]]
    if len(shape) != len(axes) + 2:
        raise ValueError(
            f"{path}: {groups[0]}/data has shape {shape}, expected (time, "
            f"{', '.join(axes)}, channel)"
        )
    coordinates = {axis: np.asarray(first["grid"][axis]) for axis in axes}
    dims, view = ("sample", "time", *axes), (1, *shape[:-1])
    arrays = [_stored(files, path, f"{name}/data", file[name]["data"]) for name in groups]
    variables = {}
    for channel in range(shape[-1]):
        parts = [
            Part(array, (None, *range(len(axes) + 1)), view, {len(shape) - 1: channel})
            for array in arrays
        ]
        label = "data" if shape[-1] == 1 else f"data_{channel}"
        variables[label] = lazy_variable(dims, Concatenated(parts))
    return _dataset(variables, coordinates, np.asarray(first["grid"]["t"]), path, file)


def _is_incompressible(file: Any) -> bool:
    return "x-coordinate" not in file and {"velocity", "particles", "t"} <= set(file)


def _open_incompressible(file: Any, path: str, files: OpenFiles) -> xr.Dataset:
    axes = _AXES[: file["velocity"].ndim - 3]
    times = np.asarray(file["t"])
    if not np.array_equal(times, np.broadcast_to(times[0], times.shape)):
        raise ValueError(f"{path}: the samples have different times: convert them one by one")
    variables = {}
    for name in ("velocity", "particles", "force"):
        if name not in file:
            continue
        stored = _stored(files, path, name, file[name])
        last = stored.ndim - 1
        dims = ("sample", *(("time",) if last == len(axes) + 2 else ()), *axes)
        for channel in range(stored.shape[last]):
            label = name if stored.shape[last] == 1 else f"{name}_{channel}"
            part = Part(stored, range(last), stored.shape[:last], {last: channel})
            variables[label] = lazy_variable(dims, part)
    return _dataset(variables, {}, times[0], path, file)


def _stored(files: OpenFiles, path: str, name: str, stored: Any) -> Stored:
    return Stored(files, path, name, stored.shape, stored.dtype, stored.chunks)


def _dataset(
    variables: dict[str, xr.Variable],
    coordinates: dict[str, np.ndarray],
    times: np.ndarray | None,
    path: str,
    file: Any,
) -> xr.Dataset:
    coords: dict[str, Any] = {
        axis: (axis, values, {"units": "1"}) for axis, values in coordinates.items()
    }
    frames = {v.sizes["time"] for v in variables.values() if "time" in v.dims}
    if len(frames) > 1:
        raise ValueError(f"{path}: variables have different numbers of frames: {sorted(frames)}")
    if frames and times is not None:
        # PDEBench writes one time more than there are frames in some files
        coords["time"] = ("time", times[: frames.pop()], {"units": "1"})
    attrs = {"layout": "pdebench", **{k: str(v) for k, v in file.attrs.items()}}
    return xr.Dataset(variables, coords, attrs)
