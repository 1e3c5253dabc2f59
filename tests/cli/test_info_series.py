"""`surform info` of tables of time series."""

from __future__ import annotations

from pathlib import Path

import pytest

from surform.cli import main
from tests.data.series_files import hourly_rows, long_rows, write


def info(path: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["info", path]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = hourly_rows(100)
    table[50][1] = ""
    out = info(write(tmp_path / "load.csv", table), capsys)
    assert "load.csv: 100 rows, 2020-01-01 00:00:00 to 2020-01-05 03:00:00, step 1h" in out
    assert "leave 2 pieces without a gap, the longest of 50 rows" in out
    assert "c0 1 49.51" in out  # one missing, the mean of the others
    assert "c1 0 49.6" in out


def test_a_long_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = info(write(tmp_path / "shops.csv", long_rows(dict.fromkeys("abcdefg", 30))), capsys)
    assert "7 series by 'id': a, b, c, d, e and 2 more" in out


def test_a_table_without_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = info(write(tmp_path / "plain.csv", [row[1:] for row in hourly_rows(30)]), capsys)
    assert "plain.csv: 30 rows without times" in out
    numbers = [["time", "a"], *([f"{0.5 * i}", "1"] for i in range(30))]
    assert "30 rows, time 0 to 14.5" in info(write(tmp_path / "model.csv", numbers), capsys)


def test_many_columns_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "and 10 more columns" in info(write(tmp_path / "a.csv", hourly_rows(30, 30)), capsys)


def test_a_fault_is_told_beside_the_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = hourly_rows(30)
    table.insert(8, table.pop(20))
    out = info(write(tmp_path / "mixed.csv", table), capsys)
    assert "a table of 3 columns date: time c0: number c1: number as series:" in out
    assert "sort the rows by time" in out


@pytest.mark.fault
def test_a_missing_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "no.csv")]) == 2
    assert "no data at" in capsys.readouterr().err
