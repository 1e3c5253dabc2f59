"""One file of many is other than the rest, or is not there; URLs that cannot be read."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr

from surform.data.fields import open_fields
from surform.data.fields_module import FieldsData


@pytest.fixture
def parts(flow: xr.Dataset, tmp_path: Path) -> list[xr.Dataset]:
    return [flow.isel(sample=slice(2 * i, 2 * i + 2)).drop_vars("mask") for i in range(3)]


def write(parts: list[xr.Dataset], folder: Path, **options: Any) -> list[str]:
    paths = [str(folder / f"{i}.nc") for i in range(len(parts))]
    for part, path in zip(parts, paths, strict=True):
        part.to_netcdf(path, engine="h5netcdf", **options)
    return paths


def refused(paths: Any, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=message) as caught:
        open_fields(paths)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["grid", "frames", "variable", "dtype", "unit", "coordinate"])
def test_a_file_that_differs_is_named(parts: list[xr.Dataset], tmp_path: Path, kind: str) -> None:
    message = {
        "grid": r"1.nc: variable w has axes .*'x': 4.*in .*0.nc it has .*'x': 8",
        "frames": r"1.nc: variable w has axes .*'time': 5.*only the number of samples may differ",
        "variable": r"1.nc lacks the variable w, which .*0.nc has",
        "dtype": r"1.nc: variable w holds int16, in .*0.nc float32",
        "unit": r"1.nc: variable w is in 'Hz', in .*0.nc in 's-1'",
        "coordinate": r"1.nc: coordinate x differs from that in .*0.nc",
    }[kind]
    other = parts[1]
    changed = {
        "grid": lambda: other.isel(x=slice(4)),
        "frames": lambda: other.isel(time=slice(5)),
        "variable": lambda: other.drop_vars("w"),
        "dtype": lambda: other.assign(w=other["w"].astype("int16")),
        "unit": lambda: other.assign(w=other["w"].assign_attrs(units="Hz")),
        "coordinate": lambda: other.assign_coords(x=other["x"] + 1),
    }[kind]()
    refused(write([parts[0], changed, parts[2]], tmp_path), message)


@pytest.mark.fault
def test_other_chunks_and_other_rounding_are_remarked_on(
    parts: list[xr.Dataset], tmp_path: Path
) -> None:
    paths = write(parts[:2], tmp_path, encoding={"w": {"chunksizes": (1, 4, 8, 4)}})
    parts[2].to_netcdf(
        tmp_path / "2.nc", engine="h5netcdf", encoding={"w": {"chunksizes": (1, 12, 8, 4)}}
    )
    with pytest.warns(UserWarning, match=r"2.nc: variable w lies in chunks of \(1, 12, 8, 4\), in"):
        found = open_fields([*paths, str(tmp_path / "2.nc")])
    assert found["w"].variable.encoding["stored"].chunks == (1, 12, 8, 4)
    wide = parts[2].assign(p=parts[2]["p"].astype("f8"))
    wide.to_netcdf(tmp_path / "3.nc", engine="h5netcdf")
    with pytest.warns(UserWarning, match=r"3.nc: variable p holds float64, in .*: values are conv"):
        open_fields([*paths, str(tmp_path / "3.nc")])


@pytest.mark.fault
def test_a_file_of_a_list_or_pattern_that_is_not_there(
    parts: list[xr.Dataset], tmp_path: Path
) -> None:
    paths = write(parts, tmp_path)
    missing = str(tmp_path / "7.nc")
    refused([*paths, missing], "no data at .*7.nc", FileNotFoundError)
    (tmp_path / "7.nc").symlink_to(tmp_path / "gone.nc")
    refused(str(tmp_path / "*.nc"), "no data at .*7.nc", FileNotFoundError)


def test_a_name_that_is_there_is_no_pattern(parts: list[xr.Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "Re [180]?"
    folder.mkdir()
    (path,) = write(parts[:1], folder)
    xr.testing.assert_equal(open_fields(path)["w"], parts[0]["w"])


@pytest.mark.fault
def test_kinds_of_files_may_be_mixed_where_they_hold_the_same(
    parts: list[xr.Dataset], tmp_path: Path, flow: xr.Dataset
) -> None:
    write(parts[:2], tmp_path)
    parts[2].to_zarr(tmp_path / "2.zarr", consolidated=False)
    found = open_fields(str(tmp_path / "*"))
    np.testing.assert_array_equal(found["w"].values, flow["w"].values)
    (tmp_path / "3.csv").write_text("u\n1\n")
    refused(str(tmp_path / "*"), "cannot open .*3.csv: supported are .zarr, .h5")
    (tmp_path / "3.csv").unlink()
    xr.Dataset({"u": (("sample", "s"), np.zeros((1, 3)))}).to_zarr(
        tmp_path / "3.zarr", consolidated=False
    )
    refused(str(tmp_path / "*"), r"3.zarr lacks the variable w, which .*0.nc has")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        if "forbidden" in self.path:
            self.send_error(403)
            return
        super().do_GET()

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_files_on_a_server_stream_like_local_ones(
    server: str, parts: list[xr.Dataset], tmp_path: Path, flow: xr.Dataset
) -> None:
    for number, part in enumerate(parts):
        part.to_zarr(tmp_path / f"{number}.zarr", zarr_format=2, consolidated=True)
    urls = [f"{server}/{number}.zarr" for number in range(3)]
    assert open_fields(f"{server}/*.zarr").encoding["files"] == [(url, 2) for url in urls]
    options: dict[str, Any] = {
        "inputs": ["w"], "targets": ["w"], "input_steps": 4, "target_steps": 2, "cache": "files",
        "split": {"train": 5, "validation": 1}, "shuffle": "chunks",
    }  # fmt: skip
    remote, local = (
        FieldsData(where, **options)
        for where in (urls, [str(tmp_path / f"{n}.zarr") for n in range(3)])
    )
    for one, other in zip(remote.train_dataloader(), local.train_dataloader(), strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
    assert remote.description().source["fingerprint"] == local.description().source["fingerprint"]


def test_netcdf_on_a_server(server: str, flow: xr.Dataset, tmp_path: Path) -> None:
    flow.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    found = open_fields(f"{server}/f.nc")
    np.testing.assert_array_equal(found["w"].values[4], flow["w"].values[4])


def test_files_in_memory_by_pattern(parts: list[xr.Dataset], flow: xr.Dataset) -> None:
    for number, part in enumerate(parts):
        part.to_zarr(f"memory://joined/{number}.zarr", consolidated=False, mode="w")
    found = open_fields("memory://joined/*.zarr")
    np.testing.assert_array_equal(found["p"].values, flow["p"].values)
    fsspec.filesystem("memory").rm("joined", recursive=True)


@pytest.mark.fault
@pytest.mark.parametrize("name", ["f.zarr", "f.nc"])
@pytest.mark.parametrize("place", ["missing", "forbidden", "refused", "protocol", "package"])
def test_a_url_that_cannot_be_read_is_named(server: str, name: str, place: str) -> None:
    url = {
        "missing": f"{server}/missing/{name}",
        "forbidden": f"{server}/forbidden/{name}",
        "refused": f"http://127.0.0.1:9/{name}",
        "protocol": f"nfs4://host/{name}",
        "package": f"dropbox://folder/{name}",
    }[place]
    error = {"missing": FileNotFoundError, "protocol": ValueError, "package": ImportError}
    refused(url, re.escape(url), error.get(place, OSError))
