"""Tables: time series and logs of interactions, as text, Parquet, NumPy and NetCDF files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.fuzz.formats import Format
from surform.data.interactions_module import InteractionsData
from surform.data.series_module import SeriesData
from tests.data.interaction_files import log, write
from tests.data.series_files import hourly_rows

__all__ = ["FORMATS"]

_ROWS = 48
_SERIES = ("date", "c0", "c1", "time")
_CLICKS = ("click", "user_id", "city", "tags", "price", "timestamp")


def _text() -> str:
    return "".join(",".join(row) + "\n" for row in hourly_rows(_ROWS))


def _csv(folder: Path) -> Path:
    (folder / "load.csv").write_text(_text())
    return folder / "load.csv"


def _packed_csv(folder: Path) -> Path:
    (folder / "load.csv.gz").write_bytes(gzip.compress(_text().encode(), mtime=0))
    return folder / "load.csv.gz"


def _semicolons(folder: Path) -> Path:
    """Decimal commas, and several series below each other."""
    rows = hourly_rows(_ROWS)
    lines = [["id", *rows[0]]] + [[name, *row] for name in "ab" for row in rows[1:]]
    text = "\n".join(";".join(line).replace(".", ",") for line in lines)
    (folder / "load.txt").write_text(text + "\n")
    return folder / "load.txt"


def _parquet(folder: Path) -> Path:
    import pandas as pd

    times = pd.date_range("2020-01-01", periods=_ROWS, freq="h")
    values = np.arange(2.0 * _ROWS).reshape(2, -1)
    table = pd.DataFrame({"date": times, "c0": values[0], "c1": values[1]})
    table.to_parquet(folder / "load.parquet", index=False)
    return folder / "load.parquet"


def _npy(folder: Path) -> Path:
    np.save(folder / "load.npy", np.random.default_rng(0).random((_ROWS, 2)))
    return folder / "load.npy"


def _npz(folder: Path) -> Path:
    np.savez_compressed(folder / "load.npz", data=np.random.default_rng(0).random((_ROWS, 2)))
    return folder / "load.npz"


def _grid(folder: Path) -> Path:
    values = np.random.default_rng(0).random((_ROWS, 2))
    data = xr.Dataset({f"c{n}": ("time", values[:, n]) for n in range(2)},
                      {"time": np.arange(_ROWS) / 10})  # fmt: skip
    data.to_netcdf(folder / "load.nc", engine="h5netcdf")
    return folder / "load.nc"


def _series(path: Path, **options: Any) -> None:
    data = SeriesData(str(path), 4, 2, split={"train": 0.6, "validation": 0.2, "test": 0.2},
                      gaps="split", **options)  # fmt: skip
    data.description()
    data.normalizers()
    windows = data.windows("train")
    windows[list(range(len(windows)))]


def _long(path: Path) -> None:
    _series(path, id="id")


def _clicks(folder: Path) -> Path:
    return Path(write(folder / "clicks.csv", log(60)))


def _click_files(folder: Path) -> Path:
    return Path(write(folder / "clicks.parquet", log(60)))


_SCHEMA = """\
click: label
user_id: {role: category, group: true}
city: {role: category, type: text, min_count: 2}
tags: categories
price: {role: number, transform: log, missing: 0.0}
timestamp: time
"""


def _schema(folder: Path) -> Path:
    write(folder / "clicks.csv", log(60))
    (folder / "roles.yaml").write_text(_SCHEMA)
    return folder / "roles.yaml"


def _log(path: Path, **options: Any) -> None:
    own = {"labels": ["click"], "categorical": ["user_id", "city"], "multivalued": ["tags"],
           "dense": ["price"], "time": "timestamp"}  # fmt: skip
    if "schema" in options:
        own = {}
    data = InteractionsData(str(path), separator="|", split={"train": 0.8, "test": 0.2},
                            **(own | options))  # fmt: skip
    data.description()
    data.normalizers()
    for split in ("train", "test"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


def _by_schema(path: Path) -> None:
    _log(path.with_name("clicks.csv"), schema=str(path))


FORMATS = {
    "series-csv": Format(_csv, _series, _SERIES),
    "series-csv-gz": Format(_packed_csv, _series, _SERIES),
    "series-txt": Format(_semicolons, _long, ("id", *_SERIES)),
    "series-parquet": Format(_parquet, _series, _SERIES),
    "series-npy": Format(_npy, _series),
    "series-npz": Format(_npz, _series),
    "series-netcdf": Format(_grid, _series, _SERIES),
    "clicks-csv": Format(_clicks, _log, _CLICKS),
    "clicks-parquet": Format(_click_files, _log, _CLICKS),
    "clicks-schema": Format(_schema, _by_schema, ("clicks.csv", *_CLICKS)),
}
