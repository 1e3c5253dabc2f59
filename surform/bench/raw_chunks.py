"""The chunks of files as they are stored, read without being decompressed."""

from __future__ import annotations

from itertools import product
from typing import Any

from surform.data.fields import is_zarr
from surform.data.lazy_arrays import Concatenated, Part
from surform.data.open_files import Stored
from surform.data.source import FieldSource

__all__ = ["read_raw"]


def read_raw(
    source: FieldSource, name: str, samples: range, start: int = 0, frames: int | None = None
) -> int:
    """Read the stored bytes that `source.read_many` decodes; returns how many.

    Arrays in one piece are read as they are; those that xarray decodes by another way give 0.
    """
    stride = source.selection.time_stride
    first, last = start * stride, (start + (frames or source.layout.frames) - 1) * stride
    total = 0
    for sample in samples:
        part, row = _part(source.dataset.variables[name].encoding["stored"], sample)
        if isinstance(part, Part) and isinstance(part.stored, Stored):
            spans = (
                {0: (row, row), 1: (first, last)}
                if name in source.layout.timed
                else {0: (row, row)}
            )
            total += _read(part, spans)
    return total


def _part(stored: Any, sample: int) -> tuple[Any, int]:
    while isinstance(stored, Concatenated):
        number, sample = stored._locate(sample)
        stored = stored.parts[number]
    return stored, sample


def _read(part: Part, spans: dict[int, tuple[int, int]]) -> int:
    """Read the chunks of a stored array that the spans of the view's axes touch."""
    stored: Stored = part.stored
    bounds = [(0, size - 1) for size in stored.shape]
    for axis, span in spans.items():
        own = part.axes[axis]
        if own is not None:
            bounds[own] = span
    for own, index in part.fixed.items():
        bounds[own] = (index, index)
    if stored.chunks is None:
        key = tuple(slice(low, high + 1) for low, high in bounds)
        return stored[key].nbytes
    grid = [
        range(low // size, high // size + 1)
        for (low, high), size in zip(bounds, stored.chunks, strict=True)
    ]
    read = _zarr_chunk(stored) if is_zarr(stored.path) else _hdf5_chunk(stored)
    return sum(read(place) for place in product(*grid))


def _hdf5_chunk(stored: Stored) -> Any:
    array = stored.files[stored.path][stored.name]
    direct = getattr(getattr(array, "id", None), "read_direct_chunk", None)

    def read(place: tuple[int, ...]) -> int:
        if direct is None:  # decoded by xarray
            return 0
        offset = tuple(i * size for i, size in zip(place, array.chunks, strict=True))
        return len(direct(offset)[1])

    return read


def _zarr_chunk(stored: Stored) -> Any:
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    array: Any = zarr.open_array(f"{stored.path.rstrip('/')}/{stored.name}", mode="r")
    place, prototype = array.store_path, default_buffer_prototype()

    def read(index: tuple[int, ...]) -> int:
        key = array.metadata.encode_chunk_key(index)
        found = sync((place / key).get(prototype))
        return 0 if found is None else len(found)

    return read
