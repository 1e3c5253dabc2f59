"""Cubes and label maps in files of named arrays: MATLAB's, NumPy's, HDF5, netCDF, Zarr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import closest, first_line
from surform.data.heaps import require_sound_heaps
from surform.data.scenes_cube import Cube
from surform.data.scenes_matlab import is_level_5, level_5_arrays

__all__ = ["ARRAYS", "Stored", "cube_in", "map_in", "named_arrays"]

ARRAYS = (".mat", ".npy", ".npz", ".zarr", ".nc", ".nc4", ".h5", ".hdf5")
_CUBES, _MAPS = ("cube", "reflectance", "radiance"), ("labels", "label", "gt", "ground_truth")
_SPECTRAL = ("band", "bands", "wavelength", "wavelengths", "channel")  # names of the last axis


@dataclass(frozen=True)
class Stored:
    """One array of a file: its axes as stored, and how to read a block of it."""

    shape: tuple[int, ...]
    read: Callable[[tuple[slice, ...]], np.ndarray]
    wavelengths: tuple[float, ...] = ()


def cube_in(path: Path, name: str | None, sample: int) -> Cube:
    """The cube of a file: the array of this name, or the only one of three axes."""
    stored = _chosen(path, named_arrays(path, sample), name, 3, _CUBES, "cube_name")
    rows, columns, bands = stored.shape
    return Cube(
        name=str(path),
        shape=(rows, columns, bands),
        block=lambda r, c: stored.read((r, c, slice(None))),
        wavelengths=stored.wavelengths,
    )


def map_in(path: Path, name: str | None, sample: int) -> np.ndarray:
    """The label map of a file: the array of this name, or the only one of two axes."""
    stored = _chosen(path, named_arrays(path, sample), name, 2, _MAPS, "labels_name")
    return np.asarray(stored.read((slice(None), slice(None))))


def named_arrays(path: Path, sample: int = 0) -> dict[str, Stored]:
    """All arrays of numbers in a file, by name.

    Args:
        sample: which scene, where a file holds several along a first axis `sample`.

    Raises:
        ValueError: a damaged file, or one with objects.
    """
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return _matlab(path)
    if suffix == ".npy":
        with _readable(path):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        return {path.stem: _held(array)}
    if suffix == ".npz":
        # a stream of our own: that of np.load stays open where the file is damaged
        with _readable(path), path.open("rb") as stream, np.load(stream) as stored:
            return {name: _held(stored[name]) for name in stored.files}
    return _labelled(path, sample)


def _chosen(
    path: Path,
    arrays: dict[str, Stored],
    name: str | None,
    axes: int,
    usual: tuple[str, ...],
    option: str,
) -> Stored:
    what = f"{path} holds no array of {axes} axes"
    if name is not None:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name!r}: {closest(name, arrays)}")
        if len(arrays[name].shape) != axes:
            raise ValueError(f"{name} of {path} has {len(arrays[name].shape)} axes, {axes} are due")
        return arrays[name]
    fitting = {key: array for key, array in arrays.items() if len(array.shape) == axes}
    best = [key for key in usual if key in fitting] or list(fitting)
    if not best:
        raise ValueError(f"{what}: it holds {', '.join(arrays) or 'nothing'}")
    if len(best) > 1:
        raise ValueError(
            f"{path} holds several arrays of {axes} axes, {', '.join(best)}: set {option}"
        )
    return fitting[best[0]]


def _held(array: Any) -> Stored:
    return Stored(array.shape, lambda block: array[block])


def _matlab(path: Path) -> dict[str, Stored]:
    """Of any version; since 7.3 the files are HDF5, whose axes are the other way round."""
    import h5py

    with _readable(path):
        if h5py.is_hdf5(path):
            file = h5py.File(path, "r")
            return {name: _turned(item) for name, item in file.items() if _is_array(item)}
        if is_level_5(path):
            return {name: _held(array) for name, array in level_5_arrays(path).items()}
        scipy = require_extra("scipy.io", "scenes", "reading .mat of level 4")
        found = scipy.loadmat(path)
    return {
        name: _held(array)
        for name, array in found.items()
        if isinstance(array, np.ndarray) and _is_array(array)
    }


def _is_array(item: Any) -> bool:
    return hasattr(item, "dtype") and item.dtype.kind in "iufb"


def _turned(item: Any) -> Stored:
    return Stored(item.shape[::-1], lambda block: np.asarray(item[block[::-1]]).T)


def _labelled(path: Path, sample: int) -> dict[str, Stored]:
    """netCDF, Zarr and HDF5 as labelled arrays; a first axis `sample` is gone through."""
    from surform.data.fields import open_stored

    if path.suffix.lower() in (".h5", ".hdf5") and (plain := _without_names(path)):
        return plain
    data = open_stored(str(path))
    found = {}
    for name, array in data.variables.items():
        if array.dtype.kind not in "iufb":
            continue
        if array.dims[:1] == ("sample",):
            if not 0 <= sample < array.shape[0]:
                raise ValueError(
                    f"{path} has {array.shape[0]} scenes, sample {sample} is not there"
                )
            array = array[sample]
        if array.ndim == 3 and str(array.dims[0]).lower() in _SPECTRAL:
            array = array.transpose(*array.dims[1:], array.dims[0])
        waves = data.coords.get("wavelength") if "wavelength" in array.dims else None
        found[str(name)] = Stored(
            array.shape,
            lambda block, array=array: array[block].values,
            () if waves is None else tuple(np.asarray(waves.values, dtype=float).tolist()),
        )
    return found


def _without_names(path: Path) -> dict[str, Stored]:
    """Arrays of an HDF5 file whose axes have no names, as they lie; none where some have."""
    import h5py

    with _readable(path):
        require_sound_heaps(str(path))  # names of axes lie there
        file = h5py.File(path, "r")
    arrays = {name: item for name, item in file.items() if _is_array(item)}
    if any(axis.label or len(axis) for item in arrays.values() for axis in item.dims):
        file.close()
        return {}
    return {
        name: Stored(item.shape, lambda block, item=item: np.asarray(item[block]))
        for name, item in arrays.items()
    }


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of readers as one sentence about the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        reason = first_line(error)
        if "pickle" in reason.lower() or "objects in dtype" in reason:
            reason = "it holds objects, which are never unpickled"
        raise ValueError(f"{path} is refused or damaged: {reason}") from error
