"""Bad input: one sentence that names the file, the variable and the place, before training."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surform.data.fields import open_fields
from surform.data.fields_module import FieldsData

pytestmark = pytest.mark.fault

WINDOWS = {"inputs": ["w"], "targets": ["w"], "input_steps": 4, "target_steps": 2}
STEADY = {"inputs": ["a"], "targets": ["b"], "input_steps": None, "target_steps": None}


def prepare(path: str | list[str], **options: object) -> FieldsData:
    data = FieldsData(path, **{"split": {"train": 4, "validation": 2}, **WINDOWS, **options})  # type: ignore[arg-type]
    data.setup("fit")
    data.normalizers()
    return data


def refused(error: type[Exception], message: str, act: Callable[[], object]) -> None:
    with pytest.raises(error, match=message) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert len(re.sub(r"\S*/", "", text)) < 300  # the folders of a test run do not count


# -- files -----------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path, flow_path: str) -> None:
    refused(
        FileNotFoundError, r"no data at .*flwo.zarr; did you mean 'flow.zarr'\?",
        lambda: open_fields(tmp_path / "flwo.zarr"),
    )  # fmt: skip


def test_missing_file_of_an_unknown_kind(tmp_path: Path, flow_path: str) -> None:
    refused(
        FileNotFoundError, r"no data at .*flow.zar; did you mean 'flow.zarr'\?",
        lambda: open_fields(tmp_path / "flow.zar"),
    )  # fmt: skip


@pytest.mark.parametrize("url", ["memory://nothing.zarr", "memory://nothing.h5"])
def test_missing_url(url: str) -> None:
    refused(FileNotFoundError, "nothing", lambda: open_fields(url))


def test_pattern_without_files(tmp_path: Path) -> None:
    refused(FileNotFoundError, "no file matches", lambda: open_fields(str(tmp_path / "*.h5")))
    refused(ValueError, "empty list", lambda: open_fields([]))


@pytest.mark.parametrize("name", ["u.npy", "u.mat", "u.csv", "u"])
def test_unsupported_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x93NUMPY")
    refused(
        ValueError,
        f"cannot open .*{name}: supported are .zarr",
        lambda: open_fields(tmp_path / name),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not data"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer, not data"),
        (b"CDF\x01\x00\x00", "is a NetCDF 3 file: convert it"),
        (b"\x00" * 4096, "is not an HDF5 or NetCDF 4 file"),
    ],
)
def test_not_an_hdf5_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f.h5").write_bytes(content)
    refused(OSError, f"f.h5 {message}", lambda: open_fields(tmp_path / "f.h5"))


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_truncated_file(tmp_path: Path, flow: xr.Dataset, suffix: str) -> None:
    path = tmp_path / f"f{suffix}"
    flow.to_netcdf(path, engine="h5netcdf")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(OSError, f"f{suffix} is truncated", lambda: open_fields(path))


def test_broken_chunk_is_named_with_its_sample(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        stored = file.create_dataset(
            "tensor", data=np.random.default_rng(0).random((4, 8, 16)), chunks=(1, 8, 16),
            compression="gzip",
        )  # fmt: skip
        file["x-coordinate"] = np.arange(16.0)
        place = stored.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 64] = b"\xff" * 64
    path.write_bytes(bytes(content))
    refused(
        OSError, r"cannot read variable tensor, sample 2 of .*f.h5",
        lambda: prepare(str(path), inputs=["tensor"], targets=["tensor"], split={"train": 4}),
    )  # fmt: skip


def test_hdf5_of_an_unknown_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["velocity"] = np.zeros((3, 4))
    refused(
        ValueError,
        "without axis names .* it holds velocity",
        lambda: open_fields(tmp_path / "f.h5"),
    )


def test_layout_that_lacks_a_part(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["0000/data"] = np.zeros((3, 4, 1))
    refused(ValueError, "f.h5 lacks", lambda: open_fields(tmp_path / "f.h5"))


def test_folder_that_is_no_zarr_store(tmp_path: Path) -> None:
    (tmp_path / "f.zarr").mkdir()
    refused(FileNotFoundError, "no Zarr group", lambda: open_fields(tmp_path / "f.zarr"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path, flow: xr.Dataset) -> None:
    flow.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    (tmp_path / "f.nc").chmod(0)
    refused(PermissionError, "no permission to read", lambda: open_fields(tmp_path / "f.nc"))


def test_permission_is_asked_before_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f.nc").write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(PermissionError, "no permission to read .*f.nc", lambda: open_fields(tmp_path / "f.nc"))


# -- several files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.isel(x=slice(0, 6)),
            r"b.nc: variable \w+ has axes .* only the number of samples",
        ),
        (lambda d: d.drop_vars("w"), "b.nc lacks the variable w, which .*a.nc has"),
        (lambda d: d.assign_coords(x=d["x"] * 2), "b.nc: coordinate x differs from that in .*a.nc"),
        (
            lambda d: d.assign(w=d["w"].assign_attrs(units="min-1")),
            "b.nc: variable w is in 'min-1', in .*a.nc in 's-1'",
        ),
    ],
)
def test_files_that_do_not_fit_together(
    flow: xr.Dataset, tmp_path: Path, change: Callable[[xr.Dataset], xr.Dataset], message: str
) -> None:
    flow.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    change(flow).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    refused(ValueError, message, lambda: open_fields(str(tmp_path / "*.nc")))


# -- content ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("cache", ["memory", "files"])
def test_nan_in_training_data(flow: xr.Dataset, tmp_path: Path, value: float, cache: str) -> None:
    flow["w"][3, 6, 2, 1] = value
    flow.to_zarr(tmp_path / "f.zarr", consolidated=False)
    refused(
        ValueError,
        f"f.zarr: variable w is {value} at sample 3, time index 6, x index 2, y index 1",
        lambda: prepare(str(tmp_path / "f.zarr"), cache=cache, time_stride=2, space_stride=[2, 1],
                        input_steps=2, target_steps=1),
    )  # fmt: skip


def test_nan_is_found_in_the_file_that_holds_it(flow: xr.Dataset, tmp_path: Path) -> None:
    flow.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    flow["re"][1] = np.nan
    flow.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    refused(
        ValueError, "b.nc: variable re is nan at sample 1",
        lambda: prepare(str(tmp_path / "*.nc"), parameters=["re"]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1, 2, 3, 4, 4.5, 6, 7, 8, 9, 10, 11], "not evenly spaced in time: .* at index 4"),
        ([0, 1, 2, 3, 2, 5, 6, 7, 8, 9, 10, 11], "coordinate time is not monotonic: 3 at index 3"),
        ([0, 1, 2, 3, np.nan, 5, 6, 7, 8, 9, 10, 11], "coordinate time is not monotonic"),
    ],
)
def test_bad_times(flow: xr.Dataset, tmp_path: Path, times: list[float], message: str) -> None:
    changed = flow.assign_coords(time=times)
    changed.to_zarr(tmp_path / "f.zarr", consolidated=False)
    refused(ValueError, f"f.zarr.*{message}", lambda: prepare(str(tmp_path / "f.zarr")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.assign_coords(x=[0, 1, 2, 2, 3, 4, 5, 6.0]),
            "coordinate x is not monotonic: 2 at index 2",
        ),
        (lambda d: d.assign_coords(x=list("abcdefgh")), "coordinate x holds <U1, expected numbers"),
        (lambda d: d.transpose("time", "sample", ...), r"transpose it to \(\"sample\", \"time\""),
        (
            lambda d: d.assign(w=d["w"].isel(y=0, drop=True)),
            r"variable p lies on the axes \('x', 'y'\), w on \('x',\)",
        ),
        (lambda d: d[["re"]].astype(str), "holds no numeric variables"),
    ],
)
def test_bad_layout(
    flow: xr.Dataset, tmp_path: Path, change: Callable[[xr.Dataset], xr.Dataset], message: str
) -> None:
    change(flow).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    refused(ValueError, f"f.nc.*{message}", lambda: prepare(str(tmp_path / "f.nc"), targets=["p"]))


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["vorticity"]}, "has no variable 'vorticity': it holds a, b, mask, p, re, w"),
        ({"parameters": ["Re"]}, r"has no variable 'Re': did you mean 're'\?"),
        ({"auxiliary": ["du"]}, "has no variable 'du'"),
        ({"parameters": ["a"]}, "parameter a has axes .* fields belong under inputs"),
        ({"inputs": ["re"]}, "and no grid; scalars per sample belong under parameters"),
        ({"inputs": ["a"]}, "none of the inputs a has a time axis"),
        ({"targets": ["a"]}, "variable a has no time axis, so it cannot be a target"),
        ({"input_steps": None, "target_steps": None}, "variable w has 12 frames: set input_steps"),
        ({"input_steps": 10, "target_steps": 3}, "12 frames per sample.* 10 \\+ 3 = 13"),
        ({"time_stride": 3}, "12 frames per sample, 4 with time_stride 3"),
        ({"validation_target_steps": 9}, "one window needs .* 4 \\+ 9 = 13"),
        ({"target_steps": None}, "give both input_steps and target_steps"),
        ({"space_stride": [2, 2, 2]}, "space_stride has 3 numbers for the axes x, y"),
        ({"space_stride": 0}, "space_stride must be at least 1, got 0"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": "w"}, "list of variable names, got the string 'w'"),
        ({"inputs": ["w", "w"]}, "inputs names a variable twice"),
        ({"inputs": ["w", "re"], "parameters": ["re"]}, "re is both an input and a parameter"),
        ({"split": {"train": 5, "validation": 2}}, "the splits overlap: .* 7 samples, .* has 6"),
        ({"split": {"train": 4, "validation": 0.1}}, "split validation=0.1 is empty"),
        ({"split": {"validation": 2}}, "there are no train data: split gives validation"),
        ({"normalize_inputs": "standard"}, "normalize_inputs='standard': choose none, channel"),
        ({"protocol": "dirty"}, "protocol='dirty': choose clean, paper"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0"),
        ({**STEADY, "normalize_inputs": "temporal"}, "needs a time axis"),
    ],
)  # fmt: skip
def test_impossible_requests(flow_path: str, options: dict, message: str) -> None:
    refused(ValueError, message, lambda: prepare(flow_path, **options))


def test_one_file_for_training_and_test(flow_path: str) -> None:
    refused(
        ValueError, "the splits overlap: .*flow.zarr is in both path and test_path",
        lambda: prepare(flow_path, test_path=flow_path.replace("flow.zarr", "./flow.zarr")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda d: d.rename(x="r"), {}, r"test.nc has the axes \('r', 'y'\)"),
        (
            lambda d: d.isel(x=slice(None, None, 2)), {"normalize_inputs": "pointwise"},
            "'pointwise' normalisation needs one grid",
        ),
        (lambda d: d.isel(time=slice(None, None, 2)), {"input_steps": 2}, "step of 1, .* of 0.5"),
        (lambda d: d.assign(w=d["w"].assign_attrs(units="h-1")), {}, "test.nc gives w in 'h-1'"),
    ],
)  # fmt: skip
def test_test_data_of_another_problem(
    flow: xr.Dataset, flow_path: str, tmp_path: Path,
    change: Callable[[xr.Dataset], xr.Dataset], options: dict, message: str,
) -> None:  # fmt: skip
    change(flow).to_netcdf(tmp_path / "test.nc", engine="h5netcdf")
    refused(
        ValueError,
        message,
        lambda: prepare(flow_path, test_path=str(tmp_path / "test.nc"), **options),
    )


def test_a_split_given_twice(flow_path: str, tmp_path: Path) -> None:
    refused(
        ValueError, "validation data are given twice",
        lambda: prepare(flow_path, validation_path="other.zarr"),
    )  # fmt: skip


def test_every_message_of_a_misspelt_name_lists_what_there_is(flow_path: str) -> None:
    with pytest.raises(ValueError) as caught:
        prepare(flow_path, inputs=["maks"])
    assert re.search(r"did you mean 'mask'\? It holds a, b, mask, p, re, w", str(caught.value))


def test_nan_in_training_data_that_nothing_normalises(flow: xr.Dataset, tmp_path: Path) -> None:
    flow["p"][1, 5, 2, 3] = np.nan
    flow.to_zarr(tmp_path / "f.zarr", consolidated=False)
    options = {"cache": "files", "normalize_inputs": "none", "normalize_targets": "none"}
    refused(
        ValueError,
        "variable p is nan at sample 1, time index 5, x index 2, y index 3",
        lambda: prepare(str(tmp_path / "f.zarr"), targets=["p"], **options),
    )


def test_more_processes_than_windows(flow_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "surform.data.fields_module.joint_processes"
    monkeypatch.setattr(place, lambda trainer: (0, 3))
    options = {"split": {"train": 4, "validation": 1}, "validation_target_steps": 7}
    refused(
        ValueError, "2 validation windows cannot be shared by 3 processes: take fewer",
        lambda: prepare(flow_path, **options),
    )  # fmt: skip
