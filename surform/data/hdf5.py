"""HDF5 files in every layout that is read: The Well, PDEBench, NetCDF 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import xarray as xr

from surform.data.faults import file_system, first_line, is_url
from surform.data.heaps import require_sound_heaps
from surform.data.netcdf import open_netcdf
from surform.data.open_files import OpenFiles
from surform.data.pdebench import is_pdebench, open_pdebench
from surform.data.the_well import is_the_well, open_the_well

__all__ = ["OpenHDF5", "open_hdf5", "remote_file"]


_ARRAYS = 32


class OpenHDF5(dict[str, Any]):
    """An open file: its arrays by name, each kept with the chunk that was read last."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = _open(path)

    def __missing__(self, name: str) -> Any:
        if len(self) >= _ARRAYS:  # each keeps a megabyte of chunks
            self.clear()
        self[name] = self.file[name]
        return self[name]


def open_hdf5(path: str, files: OpenFiles) -> xr.Dataset | None:
    """The variables of a file, lazily; None where xarray is needed to decode them.

    Args:
        files: open HDF5 files with `OpenHDF5`.

    Raises:
        OSError: truncated, or no HDF5.
        ValueError: in no layout that is known.
    """
    if not is_url(path):
        with _one_sentence(path):
            require_sound_heaps(path)
    file = files[path].file  # type: ignore[attr-defined]
    try:
        for accepts, reader in _LAYOUTS:
            if accepts(file):
                return reader(file, path, files)
        named = any("DIMENSION_LIST" in d.attrs for d in file.values())
        found = open_netcdf(file, path, files) if named else None
        contents = ", ".join(file) or "nothing"
    except KeyError as error:
        raise ValueError(f"{path} lacks {error.args[0]}, which its layout needs") from error
    except (OSError, RuntimeError) as error:
        raise OSError(f"cannot read {path}: {first_line(error)}") from error
    if not named:
        raise ValueError(
            f"{path} is HDF5 without axis names and neither in a PDEBench layout nor in that of "
            f"The Well: it holds {contents}"
        )
    return found


_LAYOUTS: tuple[tuple[Callable[[Any], bool], Callable[..., xr.Dataset]], ...] = (
    (is_the_well, open_the_well),
    (is_pdebench, open_pdebench),
)


def remote_file(url: str) -> Any:
    """A remote file, open for reading."""
    system, path = file_system(url)
    try:
        return system.open(path, "rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no data at {url}") from error


def _open(path: str) -> Any:
    source: Any = remote_file(path) if is_url(path) else path
    with _one_sentence(path):
        return h5py.File(source, "r")


@contextmanager
def _one_sentence(path: str) -> Iterator[None]:
    """Around what opens a file."""
    try:
        yield
    except OSError as error:
        text = str(error)
        if "truncated" in text:
            raise OSError(
                f"{path} is truncated: it ends before the data do, copy or download it again"
            ) from error
        if "signature not found" in text:
            raise OSError(f"{path} is not an HDF5 or NetCDF 4 file") from error
        raise OSError(f"cannot open {path}: {first_line(error)}") from error
