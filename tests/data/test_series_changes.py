"""The unit of each series: its mean change from row to row, or from season to season."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surform.data import series_table
from surform.data.series_changes import mean_changes, positive_scale
from surform.data.series_module import SeriesData
from tests.data.series_files import long_rows, write


def test_mean_changes_by_hand() -> None:
    values = np.array([[0, 1], [1, 1], [np.nan, 1], [3, 1], [5, 1], [7, 2]], np.float32)
    found = mean_changes(values, [(0, 5), (5, 6), (0, 2)], 1)
    np.testing.assert_array_equal(found, [[1.5, 0], [np.nan, np.nan], [1, 0]])
    found = mean_changes(values, [(0, 6)], 3)
    np.testing.assert_allclose(found, [[3.5, 1 / 3]])


def test_blocks_do_not_lose_the_pairs_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((100, 2))
    expected = np.abs(values[5 + 7 : 93] - values[5 : 93 - 7]).mean(0)
    monkeypatch.setattr(series_table, "_BLOCK_VALUES", 14)
    np.testing.assert_allclose(mean_changes(values, [(5, 93)], 7)[0], expected)


def test_a_divisor_is_found_for_every_series() -> None:
    changes = np.array([[2.0, 0], [8.0, 0], [0, np.nan], [np.nan, np.nan], [4, 0]])
    np.testing.assert_array_equal(positive_scale(changes)[:, 0], [2, 8, 2, 4, 4])
    np.testing.assert_array_equal(positive_scale(changes)[:, 1], [1] * 5)


def test_windows_of_several_series_carry_the_unit_of_theirs(tmp_path: Path) -> None:
    table = long_rows({"a": 60, "b": 80})
    for row in table[61:]:
        row[2] = f"{1000 * float(row[2])}"
    path = write(tmp_path / "a.csv", table)
    data = SeriesData(path, 8, 4, id="id")
    windows = data.windows("test")
    batch = windows[range(len(windows))]
    assert batch.scale is not None
    expected = np.where(windows.series(range(len(windows))) == 0, 1.0, 1000.0)
    np.testing.assert_allclose(batch.scale[:, 0], expected)
    ahead = data.forecast_windows()[[0, 1]]
    assert ahead.scale is not None
    assert ahead.scale[:, 0].tolist() == [1, 1000]
    alone = SeriesData(write(tmp_path / "b.csv", [row[1:] for row in table[:61]]), 8, 4)
    assert alone.windows("test")[[0]].scale is None
