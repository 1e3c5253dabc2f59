"""Zarr stores of solver results, laid out for xarray: their arrays, chunks and attributes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from surform.data.solvers.samples import Solution

__all__ = ["consolidate", "create_store", "write_block"]

_CHUNK_BYTES = 2**20


def create_store(
    path: Path, solution: Solution, numbers: range, batch: int, attributes: Mapping[str, Any]
) -> zarr.Group:
    """Create an empty store for the samples `numbers`, shaped like the `solution` of one block."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, axis in solution.axes.items():
        attrs: dict[str, Any] = {"units": axis.units, "long_name": axis.long_name}
        if axis.periodic is not None:
            attrs["periodic"] = int(axis.periodic)
        _add_coordinate(group, name, axis.values.cpu().numpy(), attrs)
    _add_coordinate(group, "sample", np.arange(numbers.start, numbers.stop), {})
    for name, field in solution.fields.items():
        shape = tuple(field.values.shape[1:])
        dtype = str(field.values.dtype).removeprefix("torch.")
        array = group.create_array(
            name,
            shape=(len(numbers), *shape),
            chunks=_chunks(shape, field.axes, field.values.element_size(), batch),
            dtype=dtype,
            fill_value=float("nan") if field.values.is_floating_point() else 0,
            compressors=None,  # turbulent fields hardly shrink, and reading them stays fast
            dimension_names=("sample", *field.axes),
        )
        array.attrs.update({"units": field.units, "long_name": field.long_name})
    group.attrs.update(dict(attributes))
    return group


def write_block(group: zarr.Group, solution: Solution, block: range, first: int) -> None:
    """Write the samples `block` into a store whose samples begin at number `first`."""
    for name, field in solution.fields.items():
        finite = field.values.reshape(len(block), -1).isfinite().all(1)
        if not bool(finite.all()):
            number = block[int(finite.int().argmin())]
            raise ValueError(f"{name} of sample {number} is not finite: choose a smaller dt")
        rows = slice(block.start - first, block.stop - first)
        _array(group, name)[rows] = field.values.cpu().numpy()


def consolidate(path: Path) -> None:
    """Gather the metadata of a finished store in one place, where xarray looks for it first."""
    with warnings.catch_warnings():
        # zarr warns that other implementations may ignore this index; they lose nothing.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(LocalStore(path))


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} in {group.store_path} is not an array")
    return array


def _add_coordinate(
    group: zarr.Group, name: str, values: np.ndarray, attrs: Mapping[str, Any]
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=str(values.dtype),
        compressors=None,
        dimension_names=(name,),
    )
    array[:] = values
    array.attrs.update(dict(attrs))


def _chunks(
    shape: tuple[int, ...], axes: tuple[str, ...], itemsize: int, batch: int
) -> tuple[int, ...]:
    """Return chunks of about a megabyte: a few small samples, or some frames of a large one.

    Samples are grouped by a divisor of `batch`, so that two blocks never write one chunk.
    """
    size = int(np.prod(shape)) * itemsize
    if size <= _CHUNK_BYTES:
        most = _CHUNK_BYTES // size
        group = max(d for d in range(1, batch + 1) if batch % d == 0 and d <= most)
        return (group, *shape)
    if "time" not in axes[:1]:
        return (1, *shape)
    frames = max(1, _CHUNK_BYTES * shape[0] // size)
    return (1, frames, *shape[1:])
