"""Finished files: write one from Zarr stores, and read how one was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr
import zarr

from surform.data.checked_file import CheckedFile
from surform.data.heaps import require_sound_heaps
from surform.data.solvers.written_table import TABLES, table_attributes

__all__ = ["open_store", "read_attributes", "write_file", "write_store"]


def open_store(path: Path) -> xr.Dataset:
    """Open a Zarr store lazily, finished or not."""
    return xr.open_zarr(path, chunks=None, consolidated=False)


def write_file(parts: Sequence[xr.Dataset], path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the samples of `parts`, one after the other, into one netCDF-4 (HDF5) file."""
    sizes = _sizes(parts)
    with CheckedFile(path) as sink, h5netcdf.File(sink, "w") as file:
        file.attrs.update(dict(attributes))
        file.dimensions = sizes
        for name, array in parts[0].variables.items():
            shape = tuple(sizes[str(dim)] for dim in array.dims)
            chunks = tuple(map(min, array.encoding["chunks"], shape))
            variable = file.create_variable(str(name), array.dims, array.dtype, chunks=chunks)
            variable.attrs.update(array.attrs)
            for rows, values in _blocks(parts, str(name)):
                variable[rows] = values
                sink.check()


def write_store(parts: Sequence[xr.Dataset], path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the samples of `parts`, one after the other, into one Zarr store."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(dict(attributes))
    sizes = _sizes(parts)
    for name, array in parts[0].variables.items():
        copy = group.create_array(
            str(name),
            shape=tuple(sizes[str(dim)] for dim in array.dims),
            chunks=array.encoding["chunks"],
            dtype=str(array.dtype),
            compressors=None,
            dimension_names=[str(dim) for dim in array.dims],
        )
        copy.attrs.update(array.attrs)
        for rows, values in _blocks(parts, str(name)):
            copy[rows] = values


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr store, an HDF5 file, a table or a folder of pictures; none
    when it is none of them.
    """
    if path.suffix in TABLES:
        return table_attributes(path)
    try:
        if (path / "annotations.json").is_file():
            return dict(json.loads((path / "annotations.json").read_bytes()).get("info") or {})
        if path.is_dir():
            return dict(zarr.open_group(path, mode="r").attrs.asdict())
        require_sound_heaps(str(path))
        with h5py.File(path, "r") as file:
            return {k: v.item() if hasattr(v, "item") else v for k, v in file.attrs.items()}
    except (OSError, KeyError, ValueError):
        return {}


def _sizes(parts: Sequence[xr.Dataset]) -> dict[str, int]:
    sizes = {str(dim): size for dim, size in parts[0].sizes.items()}
    return {**sizes, "sample": sum(part.sizes["sample"] for part in parts)}


def _blocks(parts: Sequence[xr.Dataset], name: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, values), a chunk of samples at a time so that memory stays small."""
    array = parts[0].variables[name]
    if array.dims[0] != "sample":
        yield slice(None), array.values
        return
    row = 0
    for part in parts:
        array = part.variables[name]
        step = array.encoding["chunks"][0]
        for begin in range(0, array.shape[0], step):
            values = array[begin : begin + step].values
            yield slice(row, row + len(values)), values
            row += len(values)
