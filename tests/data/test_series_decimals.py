"""Tables written with decimal commas, as spreadsheets of much of the world export them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surform.data.series_module import SeriesData
from surform.data.series_sources import open_table
from tests.data.series_files import hourly_rows, write


def with_commas(rows: int = 60) -> list[list[str]]:
    table = hourly_rows(rows)
    return [table[0], *([row[0], *(v.replace(".", ",") for v in row[1:])] for row in table[1:])]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_are_found_and_read(tmp_path: Path, delimiter: str, header: bool) -> None:
    table = with_commas()
    path = write(tmp_path / "a.csv", table if header else table[1:], delimiter)
    names = ("c0", "c1") if header else ("1", "2")
    data = SeriesData(path, 6, 2, header=header)
    assert data.description().variates == names
    expected = np.array([[float(v) for v in row[1:]] for row in hourly_rows(60)[1:]])
    np.testing.assert_allclose(data.table.values, expected, rtol=1e-6)


def test_quoted_decimal_commas_between_commas(tmp_path: Path) -> None:
    table = [[row[0], *(f'"{v}"' if "," in v else v for v in row[1:])] for row in with_commas()]
    assert SeriesData(write(tmp_path / "a.csv", table), 6, 2).table.values[3, 1] == pytest.approx(
        3.1
    )


def test_whole_numbers_and_missing_values_stay_what_they_are(tmp_path: Path) -> None:
    table = with_commas()
    table[5][1], table[6][1], table[7][1] = "7", "NA", "-1,5e1"
    data = SeriesData(write(tmp_path / "a.csv", table, ";"), 6, 2, gaps="split")
    np.testing.assert_array_equal(data.table.values[4:7, 0], [7, np.nan, -15])


@pytest.mark.fault
def test_what_could_be_thousands_is_asked_for(tmp_path: Path) -> None:
    table = hourly_rows(60)
    for row in table[1:]:
        row[1] = row[2] = "1,234"
    path = write(tmp_path / "a.csv", table, ";")
    with pytest.raises(
        ValueError, match=r"'1,234' could be a decimal or thousands: give decimal: ',' \(--data.dec"
    ):
        open_table(path)
    assert SeriesData(path, 6, 2, decimal=",").table.values[0, 0] == pytest.approx(1.234)
    with pytest.raises(ValueError, match=r"decimal=';': choose '\.' or ','"):
        SeriesData(path, 6, 2, decimal=";").table  # noqa: B018


@pytest.mark.fault
def test_points_beside_decimal_commas_are_named(tmp_path: Path) -> None:
    for field in ("1.234,5", "1.5"):
        table = with_commas()
        table[9][2] = field
        path = write(tmp_path / "a.csv", table, ";")
        message = rf"line 10, column 'c1': '{field}' is not a number; decimals have a comma here"
        with pytest.raises(ValueError, match=message):
            _ = SeriesData(path, 6, 2).table


def test_times_and_names_that_are_numbers_have_commas_too(tmp_path: Path) -> None:
    rows = [["time", "depth", "u"]]
    rows += [[f"{t / 2:.1f}", depth, f"{t}.25"] for depth in ("0.5", "1.5") for t in range(40)]
    path = write(tmp_path / "a.csv", [[v.replace(".", ",") for v in row] for row in rows], ";")
    table = SeriesData(path, 6, 2, id="depth").table
    assert table.times[:3].tolist() == [0, 0.5, 1]
    assert [span.id for span in table.spans] == ["0.5", "1.5"]


def test_true_and_false_are_numbers_as_in_frames(tmp_path: Path) -> None:
    table = hourly_rows(60)
    for row, text in zip(table[1:], ["True", "false", ""] * 20, strict=True):
        row[1] = text
    data = SeriesData(write(tmp_path / "a.csv", table), 6, 2, known=["c0"], gaps="split")
    assert data.description().known == ("c0",)
    np.testing.assert_array_equal(data.table.values[:3, 1], [1, 0, np.nan])
