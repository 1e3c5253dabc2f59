"""Open scenes and label maps, whatever they are stored in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import parsing, refuse_unreadable
from surform.data.scenes_arrays import ARRAYS, cube_in, map_in
from surform.data.scenes_cube import Cube
from surform.data.scenes_envi import envi_classes, is_envi, open_envi

__all__ = ["open_labels", "open_scene"]

_TIFF = (".tif", ".tiff")
_MOST = 2**16 - 1  # classes: maps are of 16 bits


def open_scene(source: Any, name: str | None = None, sample: int = 0) -> Cube:
    """A cube, whose spectra are read when they are asked for.

    Args:
        source: .mat, .npy, .npz, .zarr, .nc, .h5, ENVI (.hdr, or numbers beside one), GeoTIFF; in
            Python also an array (rows, columns, bands).
        name: of the array, where a file has several of three axes.
        sample: which scene of a file with several.

    Raises:
        FileNotFoundError, ValueError, ImportError: what is missing or wrong, and where.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.dtype.kind not in "iufb":
            raise ValueError(
                f"the array is {source.dtype} of shape {source.shape}, but a scene has rows, "
                "columns and bands of numbers"
            )
        shape = (source.shape[0], source.shape[1], source.shape[2])
        return Cube("the array", shape, lambda r, c: source[r, c])
    path = _readable(source)
    with parsing(path):
        if path.suffix.lower() in _TIFF:
            return _open_tiff(path)
        if path.suffix.lower() in ARRAYS:
            return cube_in(path, name, sample)
        if is_envi(path):
            return open_envi(path)
    raise ValueError(_unknown(path, "scene"))


def open_labels(
    source: Any, name: str | None = None, sample: int = 0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(rows, columns) whole numbers, 0 where unlabelled, and names of the classes where known.

    Raises:
        ValueError: fractions, negative numbers, or what `open_scene` raises.
    """
    known: tuple[str, ...] = ()
    if isinstance(source, np.ndarray):
        found, where = source, "the label map"
    else:
        path, where = _readable(source), str(source)
        with parsing(path):
            found, known = _map(path, name, sample)
    return _numbers(np.asarray(found), where), known


def _map(path: Path, name: str | None, sample: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """A label map as it is stored, and the names of its classes where they are known.

    The unlabelled class has no name.
    """
    if path.suffix.lower() in ARRAYS:
        return map_in(path, name, sample), ()
    tiff = path.suffix.lower() in _TIFF
    if not tiff and not is_envi(path):
        raise ValueError(_unknown(path, "label map"))
    cube = _open_tiff(path) if tiff else open_envi(path)
    if cube.shape[2] != 1:
        raise ValueError(f"{path} has {cube.shape[2]} bands, but a label map has one")
    found = cube.block(slice(None), slice(None))[..., 0]
    if cube.no_data is not None:
        found = np.where(found == cube.no_data, 0, found)
    return found, () if tiff else envi_classes(path)[1:]


def _readable(source: Any) -> Path:
    if not isinstance(source, str | Path):
        raise ValueError(f"a scene is a file or an array, not {type(source).__name__}")
    refuse_unreadable(str(source))
    return Path(source)


def _unknown(path: Path, what: str) -> str:
    return (
        f"{path} is no {what} that can be read: give one of {', '.join((*ARRAYS, *_TIFF))}, or an "
        "ENVI file with its .hdr"
    )


def _numbers(found: np.ndarray, where: str) -> np.ndarray:
    if found.ndim != 2 or found.dtype.kind not in "iufb":
        raise ValueError(
            f"{where} is {found.dtype} of shape {found.shape}, but a label map has rows and "
            "columns of numbers"
        )
    whole = np.isfinite(found) & (found == np.floor(found)) & (found >= 0) & (found <= _MOST)
    if not whole.all():
        row, column = np.argwhere(~whole)[0]
        raise ValueError(
            f"{where} has {found[row, column]} at row {row}, column {column}: labels are whole "
            f"numbers, 0 for none and classes from 1 to {_MOST}"
        )
    return found.astype(np.int64)


def _open_tiff(path: Path) -> Cube:
    rasterio = require_extra("rasterio", "scenes", "reading GeoTIFF")
    try:
        with warnings.catch_warnings():  # the place on earth is of no matter here
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise ValueError(f"{path} is refused or damaged: {error}") from error

    def block(rows: slice, columns: slice) -> np.ndarray:
        spans = (rows.indices(file.height)[:2], columns.indices(file.width)[:2])
        return np.moveaxis(file.read(window=spans), 0, -1)

    shape = (file.height, file.width, file.count)
    return Cube(str(path), shape, block, no_data=file.nodata)
