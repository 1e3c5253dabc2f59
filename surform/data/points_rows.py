"""Growing columns of rows in a Zarr store, and the same in one HDF5 file when they are complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import zarr

from surform.data.checked_file import CheckedFile
from surform.data.solvers.store import consolidate

__all__ = ["RowStore", "copy_to_hdf5"]

_CHUNK = 32768  # values; a chunk is a file
_COPIED = 2**20  # values at a time
_UNWRITTEN = -1  # an array is made longer first and filled then: a kill may fall between


class RowStore:
    """One-dimensional arrays that rows are put behind.

    Args:
        path: of the Zarr store.
        resume: keep what is there.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.group = zarr.open_group(path, mode="a" if resume else "w", zarr_format=3)

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the whole store."""
        return dict(self.group.attrs.asdict())

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Add attributes of the whole store."""
        self.group.attrs.update(dict(values))

    def create(self, name: str, dim: str, dtype: np.dtype, attrs: Mapping[str, Any]) -> None:
        """A new empty array; nothing happens where there is one of this name."""
        if name not in self.group:
            array = self.group.create_array(
                name,
                shape=(0,),
                chunks=(_CHUNK,),
                dtype=dtype,
                dimension_names=(dim,),
                fill_value=_UNWRITTEN if name.endswith("row_size") else 0,
            )
            array.attrs.update(dict(attrs))

    def append(self, name: str, values: np.ndarray) -> None:
        """Put values behind those of an array."""
        self._array(name).append(values)

    def trim(self) -> int:
        """Cut off the rows of samples that are not complete; how many samples are."""
        if "row_size" not in self.group:
            return 0
        unwritten = np.asarray(self._array("row_size")[:]) == _UNWRITTEN
        samples = int(unwritten.argmax()) if unwritten.any() else len(unwritten)
        rows = {"sample": samples}
        for name, array in self.group.arrays():
            if name.endswith("row_size"):
                counts = np.asarray(array[:samples])
                rows[name.removesuffix("row_size") + "point"] = int(counts.sum())
        for _, array in self.group.arrays():
            array.resize((rows[_dimension(array)],))
        return samples

    def close(self) -> None:
        """Gather the metadata of all arrays in one place."""
        consolidate(self.path)

    def _array(self, name: str) -> zarr.Array:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array


def copy_to_hdf5(store: RowStore, path: Path) -> None:
    """Write all arrays of a store into one HDF5 file with netCDF-4's named dimensions."""
    # Dimensions of a known size: h5netcdf is slow at finding that of unlimited ones.
    arrays = dict(store.group.arrays())
    with CheckedFile(path) as sink, h5netcdf.File(sink, "w") as file:
        file.attrs.update(store.attributes)
        file.dimensions = {_dimension(array): array.shape[0] for array in arrays.values()}
        for name, array in arrays.items():
            variable = file.create_variable(name, (_dimension(array),), array.dtype)
            variable.attrs.update(array.attrs.asdict())
            for start in range(0, array.shape[0], _COPIED):
                rows = slice(start, start + _COPIED)
                variable[rows] = array[rows]
                sink.check()


def _dimension(array: zarr.Array) -> str:
    names = array.metadata.dimension_names or ("",)  # type: ignore[union-attr]
    return str(names[0])
