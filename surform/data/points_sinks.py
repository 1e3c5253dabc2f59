"""Growing one-dimensional arrays in a Zarr store or an HDF5 file: where samples are written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5netcdf
import numpy as np
import zarr

from surform.data.checked_file import CheckedFile
from surform.data.solvers.store import consolidate

__all__ = ["Hdf5Sink", "Sink", "ZarrSink"]

# Values per chunk. A Zarr chunk is a file; an HDF5 chunk takes its whole room on disk.
_ZARR_CHUNK, _HDF5_CHUNK = 32768, 8192


class Sink(Protocol):
    """What a writer of samples needs of a file."""

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Attributes of the file."""

    def stored_attributes(self) -> dict[str, Any]:
        """Attributes that an earlier writer left."""
        ...

    def create(self, name: str, dim: str, dtype: np.dtype, attrs: Mapping[str, Any]) -> None:
        """A new empty array; nothing happens where there is one of this name."""

    def append(self, name: str, dim: str, values: np.ndarray) -> None:
        """Put values behind those of an array."""

    def trim(self) -> int:
        """Cut off the rows of samples that are not complete; how many samples are."""
        ...

    def close(self) -> None:
        """End the file."""

    def abandon(self) -> None:
        """Let go of a file that is of no use."""


class ZarrSink:
    """A Zarr store, new or continued."""

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.group = zarr.open_group(path, mode="a" if resume else "w", zarr_format=3)

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        self.group.attrs.update(dict(values))

    def stored_attributes(self) -> dict[str, Any]:
        return dict(self.group.attrs.asdict())

    def create(self, name: str, dim: str, dtype: np.dtype, attrs: Mapping[str, Any]) -> None:
        if name not in self.group:
            array = self.group.create_array(
                name, shape=(0,), chunks=(_ZARR_CHUNK,), dtype=dtype, dimension_names=(dim,)
            )
            array.attrs.update(dict(attrs))

    def append(self, name: str, dim: str, values: np.ndarray) -> None:
        self._array(name).append(values)

    def trim(self) -> int:
        if "row_size" not in self.group:
            return 0
        samples = self._array("row_size").shape[0]
        rows = {"sample": samples}
        for name, array in self.group.arrays():
            if name.endswith("row_size"):
                counts = np.asarray(array[:samples])
                rows[name.removesuffix("row_size") + "point"] = int(counts.sum())
        for _, array in self.group.arrays():
            array.resize((rows[_dimension(array)],))
        return samples

    def close(self) -> None:
        consolidate(self.path)

    def abandon(self) -> None:
        """Nothing is held open."""

    def _array(self, name: str) -> zarr.Array:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array


class Hdf5Sink:
    """A new HDF5 file with netCDF-4's named dimensions, all unlimited."""

    def __init__(self, path: Path) -> None:
        self.sink = CheckedFile(path)
        self.file = h5netcdf.File(self.sink, "w")
        self.lengths: dict[str, int] = {}

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        self.file.attrs.update(dict(values))

    def stored_attributes(self) -> dict[str, Any]:
        return {}

    def create(self, name: str, dim: str, dtype: np.dtype, attrs: Mapping[str, Any]) -> None:
        if dim not in self.file.dimensions:
            self.file.dimensions[dim] = None
        array = self.file.create_variable(name, (dim,), dtype, chunks=(_HDF5_CHUNK,))
        array.attrs.update(dict(attrs))
        self.lengths[name] = 0

    def append(self, name: str, dim: str, values: np.ndarray) -> None:
        start = self.lengths[name]
        end = self.lengths[name] = start + len(values)
        if self.file.dimensions[dim].size < end:
            self.file.resize_dimension(dim, end)
        self.file.variables[name][start:end] = values
        self.sink.check()

    def trim(self) -> int:
        return 0

    def close(self) -> None:
        self.file.close()
        with self.sink:
            self.sink.check()

    def abandon(self) -> None:
        with self.sink:  # tells of a full disk rather than of what HDF5 made of it
            self.file.close()


def _dimension(array: zarr.Array) -> str:
    names = array.metadata.dimension_names or ("",)  # type: ignore[union-attr]
    return str(names[0])
