"""Open whatever holds a table of series: a file by its name, or an object by its type."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from surform.data.faults import refuse_unreadable
from surform.data.fields import is_zarr, open_fields
from surform.data.series_csv import CsvTable
from surform.data.series_frames import ColumnTable, array_table, frame_table
from surform.data.series_named import NAMED, open_named
from surform.data.series_parquet import ParquetTable
from surform.data.series_raw import TableReader
from surform.data.series_xarray import XarrayTable

__all__ = ["is_series_file", "open_table"]

_TEXT = (".csv", ".tsv", ".txt")
_PACKED = (".gz", ".bz2", ".xz")
_PARQUET = (".parquet", ".pq")
_ARRAYS = (".npy", ".npz")
_GRIDS = (".nc", ".nc4", ".h5", ".hdf5")
_VALID = (
    f"{', '.join((*_TEXT, *_PARQUET, *_GRIDS, *_ARRAYS))}, .zarr, {', '.join(NAMED)}, or in Python "
    "a frame of pandas or polars, an Arrow table, an xarray dataset, an array"
)


def open_table(
    source: Any,
    delimiter: str | None = None,
    header: bool | None = None,
    time: str | None = None,
    decimal: str | None = None,
) -> TableReader:
    """A reader of `source`, which is looked at and not yet read.

    Args:
        source: path or URL of CSV (`.csv`, `.tsv`, `.txt`, also `.gz`, `.bz2`, `.xz`), Parquet,
            NetCDF, Zarr or NumPy files; the name of a data set in `series_named`; a frame of
            pandas or polars, an Arrow table, an xarray dataset or array, an array or tensor.
        delimiter: of text files; None finds it.
        header: whether a text file begins with column names; None finds out.
        time: the axis of time of NetCDF, Zarr and xarray; None finds it.
        decimal: mark of decimals in text files; None finds it.

    Raises:
        ValueError: an unknown kind of source.
        OSError: a file that is missing, empty or unreadable.
        ImportError: a library that it takes is not installed.
    """
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), delimiter, header, time, decimal)
    if type(source).__module__.partition(".")[0] == "xarray":
        return XarrayTable(source, "the dataset", time)
    if isinstance(source, np.ndarray) or type(source).__module__.partition(".")[0] == "torch":
        return array_table(source)
    found = frame_table(source)
    if found is None:
        raise ValueError(f"cannot read series from {type(source).__name__}: valid: {_VALID}")
    return found


def is_series_file(path: str) -> bool:
    """Whether a name is that of a table: text, Parquet or a named data set."""
    return path in NAMED or _suffix(path) in (*_TEXT, *_PARQUET)


def _open_path(
    path: str, delimiter: str | None, header: bool | None, time: str | None, decimal: str | None
) -> TableReader:
    suffix = _suffix(path)
    if path in NAMED and not os.path.exists(path):
        return open_named(path)
    if suffix in _TEXT:
        return CsvTable(path, delimiter, header, decimal)
    if suffix in _PARQUET:
        return ParquetTable(path)
    if suffix in _ARRAYS:
        return _open_array(path)
    if suffix in _GRIDS or is_zarr(path):
        # a Zarr folder may list its variables in any order
        return XarrayTable(open_fields(path), path, time, ordered=not is_zarr(path))
    raise ValueError(f"cannot read series from {path}: valid: {_VALID}")


def _open_array(path: str) -> ColumnTable:
    refuse_unreadable(path)
    arrays = _arrays(path)
    if "data" not in arrays and len(arrays) != 1:
        raise ValueError(f"{path} holds {', '.join(arrays)}: one array called 'data' is read")
    return array_table(arrays.get("data", next(iter(arrays.values()))), path)


def _arrays(path: str) -> dict[str, np.ndarray]:
    try:
        if path.lower().endswith(".npy"):
            return {"data": np.load(path, mmap_mode="r")}
        with np.load(path) as archive:
            return dict(archive)
    except Exception as error:  # a damaged file can fail in any way
        raise OSError(f"cannot read {path}: it is damaged or truncated") from error


def _suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in _PACKED else suffix
