"""How fast batches come: the rows, the shares of the time, and the bytes as stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from surform.bench.loading import chunk_gain, measure_loading, where_time_goes
from surform.bench.raw_chunks import read_raw
from surform.cli.main import main
from surform.data.fields_module import FieldsData
from surform.data.selection import Selection
from surform.data.source import FieldSource
from tests.data.conftest import make_flow
from tests.data.point_files import store
from tests.data.pose_files import document, write

WINDOWS: dict[str, Any] = {
    "inputs": ["w"], "targets": ["p"], "input_steps": 2, "target_steps": 2, "batch_size": 4,
    "split": {"train": 6},
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> str:
    sizes = {"chunksizes": (1, 4, 8, 4), "zlib": True}
    make_flow().to_netcdf(tmp_path / "f.nc", engine="h5netcdf", encoding={"w": sizes, "p": sizes})
    return str(tmp_path / "f.nc")


def test_a_row_per_number_of_workers(path: str) -> None:
    rows = measure_loading(
        lambda count: FieldsData(path, cache="files", workers=count, **WINDOWS), [0, 1], 5, 60
    )
    assert [row["workers"] for row in rows] == [0, 1]
    for row in rows:
        assert row["batches"] == 5
        assert row["samples_per_s"] == pytest.approx(4000 / row["batch_ms"])
        assert row["mb_per_s"] > 0
        # 13 batches: the first one, and 12 at the measured speed
        assert row["epoch_s"] == pytest.approx(row["first_s"] + 0.012 * row["batch_ms"])


def test_one_batch_may_be_the_epoch(path: str) -> None:
    data = FieldsData(path, **(WINDOWS | {"batch_size": 54}))
    (row,) = measure_loading(lambda count: data, [2], 5, 60)
    assert row == {"workers": 0, "first_s": row["first_s"], "epoch_s": row["first_s"]}


def test_shares_of_the_time(path: str) -> None:
    data = FieldsData(path, cache="files", **WINDOWS)
    shares = where_time_goes(data, 3)
    assert list(shares) == ["reading", "decompressing", "collating"]
    assert all(value >= 0 for value in shares.values())
    assert sum(shares.values()) > 0
    assert "read_many" not in vars(data._opened().source("train"))
    assert where_time_goes(FieldsData(path, **WINDOWS), 3) == {}


def steady_flow(folder: Path) -> str:
    make_flow().isel(time=0, drop=True).to_netcdf(folder / "s.nc", engine="h5netcdf")
    return str(folder / "s.nc")


def test_the_gain_of_chunks_is_told(path: str, tmp_path: Path) -> None:
    told = chunk_gain(FieldsData(path, cache="files", **WINDOWS))
    assert told.startswith("w lies in chunks of (1, 4, 8, 4); with data.shuffle chunks an epoch")
    told = chunk_gain(FieldsData(path, cache="files", shuffle="chunks", **WINDOWS))
    assert told.endswith("each is read once per epoch (data.shuffle chunks)")
    assert chunk_gain(FieldsData(path, **WINDOWS)) == ""
    steady: dict[str, Any] = {"inputs": ["w"], "targets": ["p"], "split": {"train": 6}}
    told = chunk_gain(FieldsData(steady_flow(tmp_path), cache="files", **steady))
    assert told.endswith("data.shuffle chunks would gain nothing")


@pytest.mark.parametrize("kind", ["nc", "zarr", "plain"])
def test_stored_bytes_are_read(path: str, kind: str, tmp_path: Path) -> None:
    flow, where = make_flow(), path
    if kind == "zarr":
        where = str(tmp_path / "f.zarr")
        chunks = {"w": {"chunks": (1, 4, 8, 4), "compressors": ()}}
        flow.to_zarr(where, consolidated=False, zarr_format=3, encoding=chunks)
    if kind == "plain":
        where = str(tmp_path / "plain.nc")
        flow.to_netcdf(where, engine="h5netcdf")
    selection = Selection(("w",), ("w",), input_steps=1, target_steps=1)
    source = FieldSource([where, where], selection)
    found = read_raw(source, "w", range(5, 7), 3, 2)  # two chunks each, of both files
    if kind == "nc":
        with h5py.File(path) as file:
            stored = file["w"].id
            sizes = [
                stored.get_chunk_info_by_coord((s, t, 0, 0)).size for s in (5, 0) for t in (0, 4)
            ]
        assert found == sum(sizes)
    else:
        frame = 8 * 4 * 4
        assert found == (4 * 4 * frame if kind == "zarr" else 4 * frame)


def test_the_command_measures_files(path: str, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "speed.json"
    words = ["bench", "data", path, "--workers", "0", "--batches", "2", "--out", str(out)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "one batch without workers: reading" in text
    assert "lies in chunks of (1, 4, 8, 4)" in text
    found = json.loads(out.read_text())
    assert found["data"] == path
    assert set(found["where_ms"]) == {"reading", "decompressing", "collating"}
    assert found["rows"][0]["batches"] == 2
    assert found["machine"]["processor"]


def test_the_command_measures_meshes(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "speed.json"
    words = ["bench", "data", store(tmp_path / "m.h5"), "--workers", "0", "--out", str(out)]
    assert main(words) == 0
    assert "without workers: reading and decompressing" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert set(found["where_ms"]) == {"reading and decompressing", "collating"}
    assert found["rows"][0]["batches"] == 1  # of 6 samples by 4, after the first


def test_the_command_measures_a_configuration(path: str, tmp_path: Path, capsys: Any) -> None:
    config = tmp_path / "c.yaml"
    options = {"path": path, **WINDOWS}
    lines = "\n".join(f"    {name}: {json.dumps(value)}" for name, value in options.items())
    config.write_text(f"data:\n  class_path: fields\n  init_args:\n{lines}\n")
    assert main(["bench", "data", str(config), "--workers", "0,1", "--batches", "2"]) == 0
    assert "the data are held in memory: no file is read" in capsys.readouterr().out


@pytest.mark.fault
def test_what_cannot_be_measured_is_refused(tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "points.nc"
    xr.Dataset({"u": ("sample", np.zeros(3))}).to_netcdf(table, engine="h5netcdf")
    (tmp_path / "empty.yaml").write_text("seed_everything: 1\n")
    for words, message in (
        (["data"], "takes one recipe, configuration file or data path"),
        (["data", "nowhere"], "nowhere is no recipe, no configuration file and no data"),
        (["data", str(table)], "holds no fields on a grid"),
        (["data", str(tmp_path / "empty.yaml")], "has no data"),
        (["data", str(table), "--workers", "two"], "--workers is 'two': give numbers like 0,1,2"),
        (["data", str(table), "--batches", "0"], "--batches must be at least 1"),
    ):
        assert main(["bench", *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_poses_by_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, document(70))
    assert main(["bench", "data", str(path), "--workers", "0", "--batches", "1"]) == 0
    printed = capsys.readouterr().out
    assert "reading and decoding" in printed
    assert "cropping and collating" in printed
