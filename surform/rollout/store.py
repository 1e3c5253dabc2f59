"""Where predicted frames go: into memory, or block by block into a Zarr store."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surform.data.atomic import replacing, writer_lock
from surform.data.outputs import check_store

__all__ = ["MADE_BY", "Layout", "Store", "open_store"]

MADE_BY = "surform rollout"

_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Layout:
    """Dims, sizes and attributes of what will be stored: one array per variable."""

    variables: Mapping[str, Mapping[str, Any]]  # name -> attributes
    sizes: Mapping[str, int]  # dim -> length, in array order; holds "sample" and "time"
    coordinates: Mapping[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]
    dtype: np.dtype

    @property
    def frames_per_block(self) -> int:
        """Frames of one run that make a chunk of about four megabytes."""
        grid = [n for dim, n in self.sizes.items() if dim not in ("sample", "member", "time")]
        frame = int(np.prod(grid)) * self.dtype.itemsize
        return int(min(max(_BLOCK_BYTES // frame, 1), 64, self.sizes["time"]))


class Store(ABC):
    """Arrays that are filled piece by piece; unwritten frames are NaN."""

    @abstractmethod
    def write(self, name: str, samples: slice, times: slice, values: np.ndarray) -> None:
        """Put values `(samples, [member,] times, *grid)` of one variable in their place."""

    @abstractmethod
    def add(self, extra: xr.Dataset, attrs: Mapping[str, Any]) -> None:
        """Add small variables and the attributes, once all frames are written."""

    @abstractmethod
    def dataset(self) -> xr.Dataset:
        """The stored arrays, labelled; lazy when they lie on disk."""


@contextmanager
def open_store(
    out: str | os.PathLike[str] | None, layout: Layout, sources: Sequence[str] = ()
) -> Iterator[Store]:
    """A store in memory (None) or at a Zarr path, which appears there when the block ends.

    An earlier rollout there is replaced; the data (`sources`) and other stores never are.
    """
    if out is None:
        yield _Memory(layout)
        return
    path = check_store(out, sources, MADE_BY, "a rollout")
    with writer_lock(path), replacing(path) as partial:
        store = _Zarr(partial, path, layout)
        yield store


class _Memory(Store):
    def __init__(self, layout: Layout) -> None:
        shape = tuple(layout.sizes.values())
        arrays = {
            name: (tuple(layout.sizes), np.full(shape, np.nan, layout.dtype), dict(attributes))
            for name, attributes in layout.variables.items()
        }
        self._dataset = xr.Dataset(arrays, coords=dict(layout.coordinates))
        self._member = "member" in layout.sizes

    def write(self, name: str, samples: slice, times: slice, values: np.ndarray) -> None:
        self._dataset[name].values[_place(samples, times, self._member)] = values

    def add(self, extra: xr.Dataset, attrs: Mapping[str, Any]) -> None:
        self._dataset = self._dataset.merge(extra).assign_attrs(attrs)

    def dataset(self) -> xr.Dataset:
        return self._dataset


class _Zarr(Store):
    def __init__(self, partial: Path, final: Path, layout: Layout) -> None:
        import zarr

        self._final = final
        self._partial = partial
        self._member = "member" in layout.sizes
        self._group = zarr.open_group(str(partial), mode="w", zarr_format=3)
        chunk = {"sample": 1, "member": 1, "time": layout.frames_per_block}
        for name, attributes in layout.variables.items():
            self._group.create_array(
                name,
                shape=tuple(layout.sizes.values()),
                chunks=tuple(chunk.get(dim, size) for dim, size in layout.sizes.items()),
                dtype=layout.dtype,
                fill_value=float("nan"),
                dimension_names=tuple(layout.sizes),
                attributes={key: _plain(value) for key, value in attributes.items()},
            )
        self._small = xr.Dataset(coords=dict(layout.coordinates))

    def write(self, name: str, samples: slice, times: slice, values: np.ndarray) -> None:
        self._group[name][_place(samples, times, self._member)] = values  # type: ignore[index]

    def add(self, extra: xr.Dataset, attrs: Mapping[str, Any]) -> None:
        import zarr.errors

        small = self._small.merge(extra).assign_attrs(attrs)
        with warnings.catch_warnings():
            # Without consolidated metadata xr.open_zarr warns, with it zarr does: readers first.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            small.to_zarr(self._partial, mode="a", zarr_format=3, consolidated=True)

    def dataset(self) -> xr.Dataset:
        return xr.open_zarr(self._final, chunks=None)


def _plain(value: Any) -> Any:
    """Numbers and arrays as JSON has them."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _place(samples: slice, times: slice, member: bool) -> tuple[slice, ...]:
    return (samples, slice(None), times) if member else (samples, times)
