from __future__ import annotations

from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

from surform.data.fields import expand_paths, open_fields


@pytest.mark.parametrize("name", ["v2.zarr", "v3.zarr", "flow.nc", "flow.h5", "memory://v3.zarr"])
def test_every_format_gives_the_same_layout(name: str, flow: xr.Dataset, tmp_path: Path) -> None:
    path = name if "://" in name else str(tmp_path / name)
    if name.endswith(".zarr"):
        flow.to_zarr(path, zarr_format=2 if "v2" in name else 3, consolidated=False, mode="w")
    else:
        flow.to_netcdf(path, engine="h5netcdf")
    opened = open_fields(path)
    assert opened["w"].dims == ("sample", "time", "x", "y")
    assert opened["w"].attrs["units"] == "s-1"
    assert opened["x"].attrs["periodic"] == 1
    assert opened.encoding["files"] == [(path, 6)]
    np.testing.assert_array_equal(opened["w"].values, flow["w"].values)
    np.testing.assert_array_equal(opened["mask"].values[3], flow["mask"].values)


def test_consolidated_stores_open(flow: xr.Dataset, tmp_path: Path) -> None:
    flow.to_zarr(tmp_path / "f.zarr", zarr_format=2, consolidated=True)
    np.testing.assert_array_equal(open_fields(tmp_path / "f.zarr")["w"][1, 2], flow["w"][1, 2])


def test_zeros_stay_zeros_where_zero_is_the_fill_value(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "f.zarr", mode="w", zarr_format=2)
    array = group.create_array("u", shape=(2, 3), dtype="f4", fill_value=0.0)
    array.attrs["_ARRAY_DIMENSIONS"] = ["sample", "x"]
    assert (open_fields(tmp_path / "f.zarr")["u"].values == 0).all()


def test_packed_integers_are_unpacked(tmp_path: Path) -> None:
    values = np.array([[0.5, 1.0, 1.5]])
    flow = xr.Dataset({"u": (("sample", "x"), values)})
    packing = {"u": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}}
    flow.to_zarr(tmp_path / "f.zarr", zarr_format=3, consolidated=False, encoding=packing)
    np.testing.assert_array_equal(open_fields(tmp_path / "f.zarr")["u"].values, values)


def test_a_file_without_samples_is_one_sample(flow: xr.Dataset, tmp_path: Path) -> None:
    flow.isel(sample=2).to_netcdf(tmp_path / "one.nc", engine="h5netcdf")
    opened = open_fields(tmp_path / "one.nc")
    assert opened["w"].dims == ("sample", "time", "x", "y")
    assert opened["re"].values.tolist() == [20.0]
    np.testing.assert_array_equal(opened["w"].values[0], flow["w"].values[2])


def test_several_files_are_joined_along_samples(flow: xr.Dataset, tmp_path: Path) -> None:
    flow.isel(sample=slice(0, 2)).to_netcdf(tmp_path / "part0.nc", engine="h5netcdf")
    flow.isel(sample=slice(2, 5)).to_zarr(tmp_path / "part1.zarr", consolidated=False)
    flow.isel(sample=5).drop_vars("mask").assign(mask=flow["mask"]).to_netcdf(
        tmp_path / "part2.nc", engine="h5netcdf"
    )
    opened = open_fields(str(tmp_path / "part*"))
    assert opened.sizes["sample"] == 6
    for name in ("w", "re", "a"):
        np.testing.assert_array_equal(opened[name].values, flow[name].values)
    window = opened["w"].isel(sample=slice(1, 6, 2), time=slice(2, 4), x=0)
    np.testing.assert_array_equal(
        window, flow["w"].isel(sample=slice(1, 6, 2), time=slice(2, 4), x=0)
    )


def test_remote_hdf5_opens_through_fsspec(flow: xr.Dataset, tmp_path: Path) -> None:
    flow.to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    with fsspec.open("memory://flow.nc", "wb") as file:
        file.write((tmp_path / "flow.nc").read_bytes())
    opened = open_fields("memory://flow.nc")
    np.testing.assert_array_equal(opened["p"].values, flow["p"].values)
    assert expand_paths("memory://fl*.nc") == ["memory:///flow.nc"]


def test_times_stay_numbers(flow: xr.Dataset, tmp_path: Path) -> None:
    flow["time"].attrs["units"] = "seconds"
    flow.to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    assert open_fields(tmp_path / "flow.nc")["time"].values.tolist() == flow["time"].values.tolist()


def test_opening_reads_no_field(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "sparse.h5", "w") as file:
        # 4 TB on paper: reading it would not end
        file.create_dataset("tensor", (1000, 1000, 2**20), "f4", chunks=(1, 100, 2**10))
        file["x-coordinate"] = np.linspace(0, 1, 2**20)
        file["t-coordinate"] = np.arange(1001.0)
    opened = open_fields(tmp_path / "sparse.h5")
    assert opened["tensor"].sizes["sample"] == 1000
    assert float(opened["tensor"][999, 999, -1]) == 0.0


def test_labels_of_samples_and_coordinates_in_two_dimensions_are_kept(flow, tmp_path):
    flow = flow.assign_coords(
        sample=np.arange(100, 106),
        case=("sample", np.arange(6) * 1.5),
        area=(("x", "y"), np.ones((8, 4)), {"units": "m2"}),
    )
    paths = [str(tmp_path / f"{i}.zarr") for i in range(2)]
    for i, path in enumerate(paths):
        flow.isel(sample=slice(3 * i, 3 * i + 3)).to_zarr(path, consolidated=False)
    for found in (open_fields(paths), open_fields(paths[0])):
        n = found.sizes["sample"]
        assert found["sample"].values.tolist() == list(range(100, 100 + n))
        assert found["case"].values.tolist() == [1.5 * i for i in range(n)]
        assert found["area"].attrs["units"] == "m2"
    assert "sample" not in open_fields([paths[0], paths[0]]).coords
