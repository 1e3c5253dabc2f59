"""Stored arrays seen with the axes (sample, time, *space), read only where they are indexed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["Concatenated", "Part", "Readable", "lazy_variable"]

Key = tuple[int | slice, ...]


class Readable(Protocol):
    """Something with a shape that reads boxes."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the pieces that are stored and read whole; None where there are none."""
        ...

    def read(self, key: Key) -> np.ndarray:
        """The box `key` (an int or slice with positive step per axis)."""
        ...


class Part:
    """One stored array under other axes: some may be missing in it, some of its own are fixed.

    Args:
        stored: an HDF5 dataset, xarray Variable or NumPy array.
        axes: per axis of the view the axis of `stored`, in increasing order, or None where the
            values repeat; a stored axis of length 1 repeats too.
        shape: the shape of the view.
        fixed: index into each axis of `stored` that the view does not have (vector components).
    """

    def __init__(
        self,
        stored: Any,
        axes: Sequence[int | None],
        shape: Sequence[int],
        fixed: dict[int, int] | None = None,
    ) -> None:
        self.stored, self.axes, self.shape = stored, tuple(axes), tuple(shape)
        self.fixed = fixed or {}
        self.dtype = np.dtype(stored.dtype)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """How much of each axis a chunk of the stored array holds; None where it has no chunks."""
        stored = getattr(self.stored, "chunks", None)
        if stored is None:
            return None
        return tuple(
            size if axis is None or self.stored.shape[axis] != size else min(stored[axis], size)
            for axis, size in zip(self.axes, self.shape, strict=True)
        )

    def repeated(self, count: int) -> Part:
        """The same behind a new first axis, along which it repeats."""
        return Part(self.stored, (None, *self.axes), (count, *self.shape), self.fixed)

    def read(self, key: Key) -> np.ndarray:
        source: list[int | slice] = [slice(None)] * len(self.stored.shape)
        for axis, index in self.fixed.items():
            source[axis] = index
        for axis, size, index in zip(self.axes, self.shape, key, strict=True):
            if axis is None:
                continue
            repeats = self.stored.shape[axis] == 1 and size != 1
            source[axis] = (
                index if not repeats else (slice(None) if isinstance(index, slice) else 0)
            )
        values = np.asarray(self.stored[tuple(source)])
        missing: list[int] = []
        shape: list[int] = []
        for axis, size, index in zip(self.axes, self.shape, key, strict=True):
            if isinstance(index, slice):
                if axis is None:
                    missing.append(len(shape))
                shape.append(len(range(*index.indices(size))))
        return np.broadcast_to(np.expand_dims(values, missing), shape)


class Concatenated:
    """Several arrays joined along their first axis."""

    def __init__(self, parts: Sequence[Readable]) -> None:
        self.parts = list(parts)
        self.ends = list(accumulate(part.shape[0] for part in parts))
        self.shape = (self.ends[-1], *parts[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Those of the parts, the largest along each axis."""
        found = [part.chunks for part in self.parts if part.chunks is not None]
        return tuple(map(max, zip(*found, strict=True))) if found else None

    def read(self, key: Key) -> np.ndarray:
        first, rest = key[0], key[1:]
        if not isinstance(first, slice):
            number, index = self._locate(int(first))
            return self.parts[number].read((index, *rest))
        rows = range(*first.indices(self.shape[0]))
        pieces = []
        while len(rows):
            number, index = self._locate(rows[0])
            inside = len([row for row in rows if row < self.ends[number]])
            stop = index + (inside - 1) * rows.step + 1
            pieces.append(self.parts[number].read((slice(index, stop, rows.step), *rest)))
            rows = rows[inside:]
        if not pieces:
            return self.parts[0].read((slice(0, 0), *rest))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _locate(self, row: int) -> tuple[int, int]:
        number = bisect_right(self.ends, row)
        return number, row - (self.ends[number - 1] if number else 0)


class _Lazy(BackendArray):
    def __init__(self, source: Readable) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.source.read
        )


def lazy_variable(
    dims: Sequence[str], source: Readable, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """An xarray variable that reads from `source` only what is indexed.

    Its encoding holds the source under "stored".
    """
    encoding = {"stored": source}
    return xr.Variable(dims, indexing.LazilyIndexedArray(_Lazy(source)), attrs, encoding)
