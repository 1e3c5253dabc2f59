"""Fields on grids: Zarr, NetCDF, and the HDF5 layouts of PDEBench and The Well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from benchmarks.fuzz.formats import Format
from surform.data.fields_module import FieldsData

__all__ = ["FORMATS"]

_SAMPLES, _STEPS, _POINTS = 6, 4, 8


def _values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def _dataset() -> xr.Dataset:
    axes = ("sample", "time", "x")
    return xr.Dataset(
        {"u": (axes, _values(_SAMPLES, _STEPS, _POINTS), {"units": "m s-1"}),
         "nu": (("sample",), _values(_SAMPLES))},
        {"x": np.linspace(0, 1, _POINTS), "time": np.arange(_STEPS) / 10.0},
        {"solver": "none"},
    )  # fmt: skip


def _zarr(folder: Path, version: Any) -> Path:
    _dataset().to_zarr(folder / "flow.zarr", zarr_format=version, consolidated=version == 2)
    return folder / "flow.zarr"


def _netcdf(folder: Path) -> Path:
    _dataset().to_netcdf(folder / "flow.nc", engine="h5netcdf")
    return folder / "flow.nc"


def _packed_netcdf(folder: Path) -> Path:
    """Whole numbers with a scale, which xarray decodes, in compressed chunks."""
    options = {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": -1, "zlib": True}
    _dataset().to_netcdf(folder / "flow.nc", engine="h5netcdf", encoding={"u": options})
    return folder / "flow.nc"


def _pdebench(folder: Path) -> Path:
    path = folder / "1D_Burgers_Sols_Nu0.1.hdf5"
    with h5py.File(path, "w") as file:
        file["tensor"] = _values(_SAMPLES, _STEPS, _POINTS)
        file["x-coordinate"] = np.linspace(0, 1, _POINTS)
        file["t-coordinate"] = np.linspace(0, 1, _STEPS + 1)
    return path


def _the_well(folder: Path) -> Path:
    path, varying = folder / "well.hdf5", {"sample_varying": True, "time_varying": True}
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="toy", grid_type="cartesian", n_spatial_dims=2)
        file.attrs["n_trajectories"] = 3
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        for name, size in (("time", 4), ("x", 4), ("y", 5)):
            dims[name] = np.linspace(0, 1, size)
            dims[name].attrs.update(sample_varying=False, time_varying=False)
        for group in ("scalars", "t0_fields", "t1_fields", "t2_fields"):
            file.create_group(group)
        for name, shape in (("t0_fields/density", ()), ("t1_fields/velocity", (2,))):
            file[name] = _values(3, 4, 4, 5, *shape)
            file[name].attrs.update(varying, dim_varying=[True, True])
        file["scalars/nu"] = _values(3)
        file["scalars/nu"].attrs.update(sample_varying=True, time_varying=False)
    return path


def _read(path: Path, variables: list[str], parameters: tuple[str, ...] = ()) -> None:
    data = FieldsData(
        str(path), variables, variables, parameters, input_steps=1, target_steps=1,
        split={"train": 1},
    )  # fmt: skip
    data.description()
    data.normalizers()
    windows = data.windows("train")
    windows[list(range(len(windows)))]


_u = partial(_read, variables=["u"], parameters=("nu",))
FORMATS = {
    "fields-zarr": Format(partial(_zarr, version=3), _u, ("u", "nu")),
    "fields-zarr2": Format(partial(_zarr, version=2), _u, ("u", "nu")),
    "fields-netcdf": Format(_netcdf, _u, ("u", "nu")),
    "fields-netcdf-packed": Format(_packed_netcdf, _u, ("u", "nu")),
    "fields-pdebench": Format(_pdebench, partial(_read, variables=["tensor"]), ("tensor",)),
    "fields-the-well": Format(
        _the_well, partial(_read, variables=["density", "velocity_x"]), ("density", "velocity_x")
    ),
}
