"""NetCDF 4 files of plain numbers, read as the HDF5 that they are.

xarray reads them too, and decodes more (packed numbers, texts, groups), but takes 16 ms to open one
and 4 ms for each read, which is what training from hundreds of files then waits for.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
import xarray as xr

from surform.data.lazy_arrays import Part, lazy_variable
from surform.data.open_files import OpenFiles, Stored

__all__ = ["open_netcdf"]

# What HDF5 and NetCDF keep for themselves.
_INTERNAL = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_FillValue", "_Netcdf4Dimid"}
_INTERNAL |= {"_Netcdf4Coordinates", "_NCProperties", "_nc3_strict"}
# What makes values other than they are stored, or coordinates of variables.
_DECODED = {"scale_factor", "add_offset", "_Unsigned", "missing_value", "coordinates", "dtype"}
_ONLY_DIMENSION = b"This is a netCDF dimension but not a netCDF variable"


def open_netcdf(file: Any, path: str, files: OpenFiles) -> xr.Dataset | None:
    """The file's variables, lazily; None where it is no NetCDF or holds more than plain numbers."""
    if "coordinates" in file.attrs or not all(isinstance(d, h5py.Dataset) for d in file.values()):
        return None
    variables: dict[str, xr.Variable] = {}
    coordinates: dict[str, xr.Variable] = {}
    for name, stored in file.items():
        attributes = dict(stored.attrs)
        if attributes.get("NAME", b"").startswith(_ONLY_DIMENSION):
            continue
        dims = _dims(file, name, stored, attributes)
        if dims is None or stored.dtype.kind not in "iufb" or not _plain(attributes):
            return None
        own = {key: _value(v) for key, v in attributes.items() if key not in _INTERNAL}
        if dims == (name,):
            coordinates[name] = xr.Variable(dims, stored[()], own)
            continue
        array = Stored(files, path, name, stored.shape, stored.dtype, stored.chunks)
        variables[name] = lazy_variable(dims, Part(array, range(len(dims)), stored.shape), own)
    if not variables:
        return None
    attrs = {key: _value(value) for key, value in file.attrs.items() if key not in _INTERNAL}
    return xr.Dataset(variables, coordinates, attrs)


def _dims(file: Any, name: str, stored: Any, attributes: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of an array's axes; None where one has none, or another length than its name's."""
    if "DIMENSION_LIST" not in attributes:
        return (name,) if attributes.get("CLASS") == b"DIMENSION_SCALE" and stored.ndim == 1 else (
            () if stored.ndim == 0 else None
        )  # fmt: skip
    scales = [file[references[0]] for references in attributes["DIMENSION_LIST"] if len(references)]
    if tuple(len(scale) for scale in scales) != stored.shape:  # an unlimited axis, perhaps
        return None
    return tuple(scale.name.lstrip("/") for scale in scales)


def _plain(attributes: dict[str, Any]) -> bool:
    """Whether values are as they are stored: not packed, and no number stands for a hole."""
    if _DECODED & set(attributes):
        return False
    fill = attributes.get("_FillValue")
    return fill is None or math.isnan(float(np.ravel(fill)[0]))


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.size == 1:
        return _value(value.ravel()[0])
    return value
