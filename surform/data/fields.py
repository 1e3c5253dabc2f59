"""Open fields on regular grids: Zarr, NetCDF, HDF5; local or remote; one file or many; lazily."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import ZarrStore

from surform.data.faults import file_system, first_line, is_url, parsing, refuse_unreadable
from surform.data.hdf5 import OpenHDF5, open_hdf5, remote_file
from surform.data.lazy_arrays import Concatenated, Part, Readable, lazy_variable
from surform.data.open_files import OpenFiles, Stored

__all__ = ["expand_paths", "is_zarr", "open_fields", "open_stored"]

_HDF5 = (".h5", ".hdf5", ".he5", ".nc", ".nc4", ".cdf")
_HINTS = {
    ".npy": "; see 'your own data' in the documentation for the lines that make a .zarr of it",
    ".npz": "; see 'your own data' in the documentation for the lines that make a .zarr of it",
    ".mat": "; read it with scipy.io.loadmat or h5py and write a .zarr",
}


def open_fields(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> xr.Dataset:
    """Open fields lazily: nothing but coordinates is read before it is indexed.

    Reads Zarr (v2 and v3), NetCDF 4, and HDF5 in the layouts of PDEBench and The Well; local
    paths, fsspec URLs ("s3://...", "memory://..."), glob patterns and lists of them. Several files
    are joined along "sample"; of HDF5 files at most 32 are open at a time. What is returned may be
    sent to other processes, which open the files themselves.

    Returns:
        Variables over `("sample", "time", *axes)`, without "time" where they are static, or over
        `("sample",)` for scalars; coordinates and attributes as stored. `encoding["files"]` lists
        (path, number of samples) of each file.

    Raises:
        FileNotFoundError, PermissionError, OSError: what cannot be read (missing, truncated, ...).
        ValueError: unsupported format, or files that do not fit together.
    """
    paths, handles = expand_paths(path), _Handles()
    if any(map(is_url, paths)) and len(paths) > 1:  # each waits for its server
        with ThreadPoolExecutor(16) as threads:
            datasets = [*threads.map(lambda p: _open_samples(p, handles), paths)]
    else:
        datasets = [_open_samples(p, handles) for p in paths]
    joined = datasets[0] if len(datasets) == 1 else _join(datasets, paths)
    joined.encoding["files"] = [
        (p, d.sizes["sample"]) for p, d in zip(paths, datasets, strict=True)
    ]
    return joined


def expand_paths(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files that a path, pattern or list of them stands for, sorted within each pattern.

    What is there by that name is no pattern, whatever is in its name.
    """
    if not isinstance(path, (str, os.PathLike)):
        found = [p for item in path for p in expand_paths(item)]
        if not found:
            raise ValueError("an empty list of data files")
        return found
    text = os.fspath(path)
    if not any(c in text for c in "*?[") or os.path.exists(text):
        return [text]
    if is_url(text):
        system, pattern = file_system(text)
        found = sorted(system.unstrip_protocol(p) for p in system.glob(pattern))
    else:
        found = sorted(glob.glob(text))
    if not found:
        raise FileNotFoundError(f"no file matches {text}")
    return found


def is_zarr(path: str) -> bool:
    """Whether a path names a Zarr store (a folder, or anything ending in .zarr)."""
    return path.rstrip("/").endswith(".zarr") or os.path.isdir(path)


def open_stored(path: str) -> xr.Dataset:
    """One Zarr store or HDF5 file, lazily and as it is stored."""
    return _open_stored(path, _Handles())


def _hdf5(path: str) -> Mapping[str, Any]:
    return OpenHDF5(path)


def _decoded(path: str) -> Mapping[str, Any]:
    return _arrays(_open_zarr(path) if is_zarr(path) else _open_packed(path))


def _arrays(dataset: xr.Dataset) -> Mapping[str, Any]:
    return {str(name): variable for name, variable in dataset.variables.items()}


@dataclass
class _Handles:
    """Open HDF5 files, and what xarray opens and decodes: Zarr, whose stores hold no handle."""

    hdf5: OpenFiles = field(default_factory=lambda: OpenFiles(_hdf5, 32))
    stores: OpenFiles = field(default_factory=lambda: OpenFiles(_decoded, 1024))


def _open_stored(path: str, handles: _Handles) -> xr.Dataset:
    suffix = Path(path).suffix.lower()
    if not is_url(path) and not os.path.exists(path):
        refuse_unreadable(path)
    if not is_zarr(path) and suffix not in _HDF5:
        hint = _HINTS.get(suffix, "")
        raise ValueError(f"cannot open {path}: supported are .zarr, {', '.join(_HDF5)}{hint}")
    refuse_unreadable(path)
    with parsing(path):
        found = None if is_zarr(path) else open_hdf5(path, handles.hdf5)
        if found is None:
            found = _open_zarr(path) if is_zarr(path) else _open_packed(path)
            handles.stores.keep(path, _arrays(found))
    return found


def _open_zarr(path: str) -> xr.Dataset:
    # Without consolidated metadata (a v3 store usually has none) the members are listed instead.
    errors: list[Exception] = []
    for consolidated in (True, False):
        try:
            # A fill value of 0 is a number, not a hole: Zarr v2 arrays would be masked there.
            store = ZarrStore.open_group(
                path, mode="r", consolidated=consolidated, use_zarr_fill_value_as_mask=False
            )
            return xr.open_dataset(store, chunks=None, decode_times=False, cache=False)
        except PermissionError as error:
            raise PermissionError(f"no permission to read {path}") from error
        except ImportError as error:
            raise ImportError(f"cannot open {path}: {first_line(error)}") from error
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            errors.append(error)
        except Exception as error:  # what a server answered, or what damaged metadata lead to
            errors.append(error)
    missing = isinstance(errors[-1], FileNotFoundError) or "No group found" in str(errors[-1])
    reason = "no Zarr group there" if missing else first_line(errors[-1])
    raise (FileNotFoundError if missing else OSError)(f"cannot open {path}: {reason}")


def _open_packed(path: str) -> xr.Dataset:
    """NetCDF with more than plain numbers: packed ones, labels, groups."""
    source: Any = remote_file(path) if is_url(path) else path
    return xr.open_dataset(source, engine="h5netcdf", decode_times=False, chunks=None, cache=False)


def _open_samples(path: str, handles: _Handles) -> xr.Dataset:
    with parsing(path):
        return _with_samples(_open_stored(path, handles), path, handles)


def _with_samples(dataset: xr.Dataset, path: str, handles: _Handles) -> xr.Dataset:
    """Numeric variables only, each led by "sample"; a file without it is one sample."""
    samples = dataset.sizes.get("sample", 1)
    variables = {}
    for label, variable in dataset.data_vars.variables.items():
        name, dims = str(label), tuple(map(str, variable.dims))
        if not (np.issubdtype(variable.dtype, np.floating) or variable.dtype.kind in "iub"):
            continue
        source = _readable(variable, path, name, handles)
        if "sample" not in dims and isinstance(source, Part):
            dims, source = ("sample", *dims), source.repeated(samples)
        elif _misordered(dims):
            raise ValueError(
                f"{path}: variable {name} has axes {dims}; transpose it to "
                '("sample", "time", *axes)'
            )
        variables[name] = lazy_variable(dims, source, variable.attrs)
    if not variables:
        raise ValueError(f"{path} holds no numeric variables")
    coords = {str(name): coord.variable.load() for name, coord in dataset.coords.items()}
    return xr.Dataset(variables, coords, dataset.attrs)


def _readable(variable: xr.Variable, path: str, name: str, handles: _Handles) -> Readable:
    """What reads a variable in whichever process asks; what xarray opened it opens again there."""
    if "stored" in variable.encoding:
        return variable.encoding["stored"]
    chunks = variable.encoding.get("chunks") or variable.encoding.get("chunksizes")
    stored = Stored(handles.stores, path, name, variable.shape, variable.dtype, chunks)
    return Part(stored, range(variable.ndim), variable.shape)


def _misordered(dims: Sequence[Any]) -> bool:
    return dims[0] != "sample" or ("time" in dims and dims[1] != "time")


def _join(datasets: Sequence[xr.Dataset], paths: Sequence[str]) -> xr.Dataset:
    first, variables = datasets[0], {}
    for dataset, path in zip(datasets[1:], paths[1:], strict=True):
        _require_same_layout(first, dataset, paths[0], path)
    for label, variable in first.data_vars.variables.items():
        parts: list[Readable] = [d.variables[label].encoding["stored"] for d in datasets]
        _compare_storage(str(label), parts, paths)
        dims = tuple(map(str, variable.dims))
        variables[label] = lazy_variable(dims, Concatenated(parts), variable.attrs)
    shared = {n: c.variable for n, c in first.coords.items() if "sample" not in c.dims}
    return xr.Dataset(variables, shared | _joined_labels(datasets), first.attrs)


def _compare_storage(name: str, parts: Sequence[Readable], paths: Sequence[str]) -> None:
    """Warn of the first file that is stored otherwise, so that it rounds or reads otherwise."""
    one = parts[0]
    for part, path in zip(parts[1:], paths[1:], strict=True):
        if part.dtype != one.dtype:
            text = f"holds {part.dtype}, in {paths[0]} {one.dtype}: values are converted"
        elif part.chunks and one.chunks and part.chunks[1:] != one.chunks[1:]:
            text = (
                f"lies in chunks of {part.chunks}, in {paths[0]} of {one.chunks}: reading is "
                "planned for the larger ones, store all files alike"
            )
        else:
            continue
        warnings.warn(f"{path}: variable {name} {text}", stacklevel=2)
        return


def _joined_labels(datasets: Sequence[xr.Dataset]) -> dict[Any, xr.Variable]:
    """Coordinates along "sample" that every file has; samples keep their numbers only if unique."""
    labels = {}
    for name, coordinate in datasets[0].coords.items():
        if coordinate.dims[:1] == ("sample",) and all(name in d.coords for d in datasets):
            joined = xr.Variable.concat([d.coords[name].variable for d in datasets], "sample")
            if name != "sample" or len(np.unique(joined.values)) == joined.size:
                labels[name] = joined
    return labels


def _require_same_layout(one: xr.Dataset, other: xr.Dataset, path: str, other_path: str) -> None:
    for name in one.data_vars:
        if name not in other:
            raise ValueError(f"{other_path} lacks the variable {name}, which {path} has")
        found, expected = other[name], one[name]
        if found.dims != expected.dims or found.shape[1:] != expected.shape[1:]:
            raise ValueError(
                f"{other_path}: variable {name} has axes {dict(found.sizes)}, in {path} it has "
                f"{dict(expected.sizes)}; only the number of samples may differ"
            )
        if found.dtype.kind != expected.dtype.kind:
            raise ValueError(
                f"{other_path}: variable {name} holds {found.dtype}, in {path} {expected.dtype}"
            )
        if found.attrs.get("units", "1") != expected.attrs.get("units", "1"):
            raise ValueError(
                f"{other_path}: variable {name} is in {found.attrs.get('units', '1')!r}, in {path} "
                f"in {expected.attrs.get('units', '1')!r}"
            )
    for name, coordinate in one.coords.items():
        if name not in other.coords or "sample" in coordinate.dims:
            continue
        if not _alike(coordinate.values, other[name].values):
            raise ValueError(f"{other_path}: coordinate {name} differs from that in {path}")


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        return one.shape == other.shape and np.allclose(one, other, equal_nan=True)
    return np.array_equal(one, other)
