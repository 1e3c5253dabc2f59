"""Tables of series as batches: sizes, contents, statistics, order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from surform.data.series_module import SeriesData


def write_hourly(path: Path, rows: int = 400, columns: int = 3, start: str = "2020-01-01") -> str:
    """A table whose every value is distinct: column c of row r is r + c / 10."""
    times = np.datetime64(start, "h") + np.arange(rows)
    names = ["date", *(f"c{i}" for i in range(columns))]
    lines = [",".join(names)]
    for row, time in enumerate(times):
        values = [f"{row + column / 10:.4f}" for column in range(columns)]
        lines.append(",".join([str(time).replace("T", " ") + ":00:00", *values]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def hourly(tmp_path: Path) -> str:
    return write_hourly(tmp_path / "hourly.csv")


def test_windows_hold_the_rows_that_they_name(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8)
    batch = data.windows("train")[[0, 5]]
    assert batch.history.shape == (2, 24, 3)
    assert batch.targets.shape == (2, 8, 3)
    assert torch.equal(batch.history[1, :, 0], torch.arange(5.0, 29.0))
    assert torch.equal(batch.targets[1, :, 0], torch.arange(29.0, 37.0))
    assert batch.index.tolist() == [0, 5]


def test_ratio_counts_rows_as_published(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8)
    # 400 rows: 280, 40 and 80; validation and test begin 24 rows earlier
    assert [len(data.windows(s)) for s in ("train", "validation", "test")] == [249, 33, 73]
    assert data.windows("validation")[[0]].targets[0, 0, 0] == 280
    assert data.windows("test")[[0]].targets[0, 0, 0] == 320
    assert data.windows("test")[[72]].targets[0, -1, 0] == 399


def test_statistics_are_those_of_the_training_rows(hourly: str) -> None:
    variates, known, static = SeriesData(hourly, 24, 8).normalizers()
    rows = np.arange(280.0)
    expected = torch.tensor([rows.mean(), rows.mean() + 0.1, rows.mean() + 0.2])
    assert torch.allclose(variates.mean.double(), expected.double())
    assert torch.allclose(variates.std.double(), torch.full((3,), rows.std()).double())
    assert known.mean.shape == static.mean.shape == (0,)


def test_a_forecast_window_is_the_end_of_the_table(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8, marks=True)
    (batch,) = data.predict_dataloader()
    assert batch.targets.shape == (1, 0, 3)
    assert torch.equal(batch.history[0, :, 0], torch.arange(376.0, 400.0))
    assert batch.future_marks is not None
    assert batch.future_marks.shape == (1, 8, 4)
    times = data.forecast_windows().future_times([0])
    assert times[0, 0] == np.datetime64("2020-01-17T16:00")
    assert times.shape == (1, 8)
