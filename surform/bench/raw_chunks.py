"""The chunks of files as they are stored, read without being decompressed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator, Sequence
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
    read = _zarr_chunks if is_zarr(stored.path) else _hdf5_chunks
    return sum(read(stored, list(product(*grid))))


def _hdf5_chunks(stored: Stored, places: Sequence[tuple[int, ...]]) -> Iterator[int]:
    array = stored.files[stored.path][stored.name]
    direct = getattr(getattr(array, "id", None), "read_direct_chunk", None)
    if direct is None:  # decoded by xarray
        return
    for place in places:
        offset = tuple(i * size for i, size in zip(place, array.chunks, strict=True))
        yield len(direct(offset)[1])


def _zarr_chunks(stored: Stored, places: Sequence[tuple[int, ...]]) -> Iterator[int]:
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    array = _zarr_array(f"{stored.path.rstrip('/')}/{stored.name}")
    prototype = default_buffer_prototype()

    async def read() -> list[Any]:
        keys = [array.store_path / array.metadata.encode_chunk_key(place) for place in places]
        return await asyncio.gather(*(key.get(prototype) for key in keys))

    yield from (0 if found is None else len(found) for found in sync(read()))


@functools.lru_cache(maxsize=64)
def _zarr_array(path: str) -> Any:
    import zarr

    return zarr.open_array(path, mode="r")
