"""Many files: few stay open, each process opens its own, and NetCDF is read as xarray reads it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surform.data.fields import open_fields
from surform.data.hdf5 import OpenHDF5
from surform.data.netcdf import open_netcdf
from surform.data.open_files import OpenFiles
from surform.data.selection import Selection
from surform.data.source import FieldSource


def handles(folder: Path) -> int:
    """Files in a folder that this process has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(link).startswith(str(folder))
        except FileNotFoundError:
            continue
    return found


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Fifty PDEBench files of one sample."""
    paths = [str(tmp_path / f"{i:02d}.h5") for i in range(50)]
    for i, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            file.create_dataset("u", data=np.full((1, 3, 4), i, "f4"), chunks=(1, 1, 4))
            file["x-coordinate"], file["t-coordinate"] = np.arange(4.0), np.arange(4.0)
    return paths


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles on Linux")
def test_few_of_many_files_are_open(many: list[str], tmp_path: Path) -> None:
    opened = open_fields(many)
    assert opened["u"].sizes == {"sample": 50, "time": 3, "x": 4}
    for _ in range(2):
        assert opened["u"].values[:, 0, 0].tolist() == list(range(50))
        assert 0 < handles(tmp_path) <= 32
    del opened
    assert handles(tmp_path) == 0


def test_a_source_that_is_sent_elsewhere_opens_what_it_reads(many: list[str]) -> None:
    source = FieldSource(many, Selection(("u",), ("u",), input_steps=1, target_steps=1))
    sent = pickle.loads(pickle.dumps(source))
    for path in many:
        if path != many[7]:
            os.remove(path)
    np.testing.assert_array_equal(sent.read("u", 7, 1, 2), np.full((2, 4), 7))
    assert sent.layout.samples == 50


def _read(source: FieldSource, answers: multiprocessing.Queue) -> None:
    answers.put((source.read("u", 3).sum(), handles(Path(source.paths[0]).parent)))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles on Linux")
def test_a_forked_process_does_not_use_inherited_handles(many: list[str]) -> None:
    source = FieldSource(many[:4], Selection(("u",), ("u",), input_steps=1, target_steps=1))
    assert source.read("u", 3).sum() == 36
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_read, args=(source, answers))
    child.start()
    total, found = answers.get(timeout=60)
    child.join(60)
    assert total == 36
    assert found == 1


@pytest.mark.parametrize("packed", [False, True])
def test_netcdf_is_read_as_xarray_reads_it(flow: xr.Dataset, tmp_path: Path, packed: bool) -> None:
    flow.attrs |= {"name": "flow", "numbers": [1, 2], "one": np.float32(0.5)}
    encoding = {"w": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}} if packed else {}
    encoding["p"] = {"chunksizes": (1, 4, 8, 4), "zlib": True}
    flow.to_netcdf(tmp_path / "f.nc", engine="h5netcdf", encoding=encoding)
    path, files = str(tmp_path / "f.nc"), OpenFiles(OpenHDF5, 1)
    found = open_netcdf(OpenHDF5(path).file, path, files)
    expected = xr.open_dataset(path, engine="h5netcdf", decode_times=False)
    if packed:
        assert found is None  # and xarray is asked
        found = open_fields(path)[list(flow.data_vars)]
        expected["mask"] = expected["mask"].expand_dims(sample=6)
    xr.testing.assert_identical(found.load(), expected.load())
    assert open_fields(path)["p"].variable.encoding["stored"].chunks == (1, 4, 8, 4)


@pytest.mark.parametrize("kind", ["label", "text", "group", "unlimited"])
def test_netcdf_that_needs_decoding_is_left_to_xarray(
    flow: xr.Dataset, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "f.nc"
    if kind == "label":
        flow = flow.assign_coords(case=("sample", np.arange(6.0)))
    if kind == "text":
        flow["name"] = ("sample", [f"run {i}" for i in range(6)])
    flow.to_netcdf(path, engine="h5netcdf", unlimited_dims=["time"] if kind == "unlimited" else [])
    with h5py.File(path, "a") as file:
        if kind == "group":
            file.create_group("more")
        if kind == "unlimited":
            file["time"].resize((20,))
    assert open_netcdf(OpenHDF5(str(path)).file, str(path), OpenFiles(OpenHDF5, 1)) is None
    np.testing.assert_array_equal(open_fields(path)["w"].values[:, :12], flow["w"].values)
