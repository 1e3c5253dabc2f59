"""Windows: where they lie, what they hold, in which order they come."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from surform.data.series_batch import SeriesBatch
from surform.data.series_module import SeriesData
from surform.data.series_splits import split_rows
from surform.data.series_statistics import column_statistics
from tests.data.series_files import hourly_rows, long_rows, write

PEMS = {"train": 0.6, "validation": 0.2, "test": 0.2}


@pytest.fixture
def hourly(tmp_path: Path) -> str:
    return write(tmp_path / "a.csv", hourly_rows(400))


def indices(loader) -> list[list[int]]:
    return [batch.index.tolist() for batch in loader]


# -- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "rows", "expected"),
    [
        ("etth", 17420, [(0, 8640), (8640, 11520), (11520, 14400)]),
        ("ettm", 69680, [(0, 34560), (34560, 46080), (46080, 57600)]),
        ("ratio", 7588, [(0, 5311), (5311, 6071), (6071, 7588)]),
        (PEMS, 26209, [(0, 15725), (15725, 20967), (20967, 26209)]),
        ({"train": 0.7, "validation": 0.1, "test": 0.2}, 10, [(0, 7), (7, 8), (8, 10)]),
        ({"train": 100, "validation": 20, "test": 30}, 200, [(0, 100), (100, 120), (120, 150)]),
        ({"train": 0.5, "test": 0.25}, 200, [(0, 100), (100, 150)]),
        ({"train": 0.8, "test": 0.2}, 99, [(0, 79), (79, 99)]),
    ],
)  # fmt: skip
def test_rows_of_a_split(split, rows: int, expected: list[tuple[int, int]]) -> None:
    assert list(split_rows(split, rows, "a").values()) == expected


def test_dates_end_their_split() -> None:
    times = np.datetime64("2020-01-01", "h") + np.arange(240)
    split = {"train": "2020-01-05", "validation": "2020-01-07 12:00", "test": "2020-02-01"}
    found = split_rows(split, 240, "a", times.astype("datetime64[us]"))
    assert found == {"train": (0, 96), "validation": (96, 156), "test": (156, 240)}


def test_dates_of_yaml(hourly: str) -> None:
    split = {"train": date(2020, 1, 11), "test": date(2020, 1, 21)}
    data = SeriesData(hourly, 24, 8, split=split)
    assert data.windows("test")[[0]].targets[0, 0, 0] == 240


def test_without_overlap_a_split_stands_alone(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8, overlap=False)
    assert [len(data.windows(s)) for s in ("train", "validation", "test")] == [249, 9, 49]
    assert data.windows("test")[[0]].history[0, 0, 0] == 320


def test_published_counts_of_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", hourly_rows(14400))
    data = SeriesData(path, 96, 96, split="etth")
    assert [len(data.windows(s)) for s in ("train", "validation", "test")] == [8449, 2785, 2785]
    paper = SeriesData(path, 96, 96, split="etth", protocol="paper", drop_last_test=128)
    assert len(paper.windows("test")) == 2688
    assert len(paper.windows("validation")) == 2785


# -- gaps and filling ----------------------------------------------------------------------------


def test_no_window_crosses_a_gap_or_holds_a_missing_value(tmp_path: Path) -> None:
    table = hourly_rows(400)
    del table[101:104]  # rows 100 to 102
    table[151][2] = ""  # row 153 of the whole
    path = write(tmp_path / "a.csv", table)
    windows = SeriesData(path, 24, 8, gaps="split").windows("train")
    assert len(windows) < 249
    for batch in (windows[[i]] for i in range(len(windows))):
        rows = torch.cat((batch.history, batch.targets), 1)[0, :, 0]
        assert torch.equal(rows.diff(), torch.ones(31))
        assert not bool((rows == 153).any())
    # the statistics leave out the one missing value only
    values = np.array([float(row[2]) if row[2] else np.nan for row in table[1 : 1 + 277]])
    assert SeriesData(path, 24, 8, gaps="split").normalizers()[0].mean[1] == pytest.approx(
        np.nanmean(values), rel=1e-6
    )


@pytest.mark.parametrize(
    ("fill", "expected"), [("interpolate", [100, 101, 102]), ("previous", [99] * 3)]
)
def test_short_gaps_are_filled_when_asked_for(tmp_path: Path, fill, expected) -> None:
    table = hourly_rows(400)
    del table[101:104]
    path = write(tmp_path / "a.csv", table)
    data = SeriesData(path, 24, 8, fill=fill, fill_limit=3)
    assert data.table.values[99:104, 0].tolist() == [99, *expected, 103]
    assert len(data.windows("train")) == 249
    assert data.table.times is not None
    assert (np.diff(data.table.times) == np.timedelta64(1, "h")).all()
    assert data.table.place(101) == "a missing row before line 102"


def test_long_gaps_stay_and_are_not_bridged(tmp_path: Path) -> None:
    table = hourly_rows(400)
    table[100][1] = ""  # the last row before a gap of nine rows
    del table[101:110]
    path = write(tmp_path / "a.csv", table)
    data = SeriesData(path, 24, 8, fill="interpolate", fill_limit=3, gaps="split")
    assert np.isnan(data.table.values[99, 0])
    assert data.table.spans[0].segments == ((0, 99), (100, 391))


def test_filling_never_reaches_into_another_series(tmp_path: Path) -> None:
    table = long_rows({"a": 50, "b": 50, "c": 50})
    table[50][2] = table[51][2] = ""  # the end of a, the begin of b
    del table[75:78]
    data = SeriesData(
        write(tmp_path / "a.csv", table),
        6,
        2,
        id="id",
        fill="interpolate",
        fill_limit=3,
        gaps="split",
    )
    assert [(s.id, s.rows, s.segments) for s in data.table.spans] == [
        ("a", 50, ((0, 49),)), ("b", 50, ((51, 100),)), ("c", 50, ((100, 150),)),
    ]  # fmt: skip
    assert data.table.values[74, 0] == 124


# -- several series and covariates ---------------------------------------------------------------


def test_windows_stay_within_their_series(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", long_rows({"a": 60, "b": 20, "c": 90}, static=True))
    data = SeriesData(path, 8, 4, id="id", variates=["value"], static=["size"])
    windows = data.windows("train")
    starts = {"a": 42 - 11, "b": 14 - 11, "c": 62 - 11}
    assert len(windows) == sum(starts.values())
    labels = windows.labels(range(len(windows)))
    assert {n: int((labels["series"] == n).sum()) for n in starts} == starts
    everything = windows[range(len(windows))]
    assert everything.static is not None
    hundreds = everything.history[..., 0] // 100
    assert torch.equal(hundreds, (everything.static - 1).expand_as(hundreds))
    assert labels["start"][31] == 0
    assert labels["last_time"][31] == np.datetime64("2020-01-01T07:00")


def test_statistics_pool_the_training_rows_of_all_series(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", long_rows({"a": 60, "c": 90}, static=True))
    variates, _, static = SeriesData(
        path, 8, 4, id="id", variates=["value"], static=["size"]
    ).normalizers()
    rows = np.concatenate([np.arange(42), 100 + np.arange(62)])
    assert variates.mean.item() == pytest.approx(rows.mean())
    assert variates.std.item() == pytest.approx(rows.std())
    assert (static.mean.item(), static.std.item()) == (1.5, 0.5)


def test_known_covariates_reach_over_the_horizon_and_beyond_the_end(tmp_path: Path) -> None:
    table = hourly_rows(100)
    for row in table[93:]:
        row[1] = ""  # c0 ends after 92 rows, c1 is known for 8 more
    data = SeriesData(write(tmp_path / "a.csv", table), 12, 8, variates=["c0"], known=["c1"])
    assert data.table.spans[0].rows == 92
    batch = data.windows("test")[[0]]
    assert batch.known is not None
    assert batch.known.shape == (1, 20, 1)
    assert torch.allclose(batch.known[0, :12, 0], batch.history[0, :, 0] + 0.1)
    (ahead,) = data.predict_dataloader()
    assert torch.allclose(ahead.known[0, :, 0], torch.arange(80.0, 100.0) + 0.1)
    assert ahead.targets.shape == (1, 0, 1)
    known = data.normalizers()[1]
    assert known.mean.item() == pytest.approx(np.arange(64).mean() + 0.1, rel=1e-6)


def test_targets_may_be_some_variates_in_any_order(hourly: str) -> None:
    batch = SeriesData(hourly, 24, 8, targets=["c1", "c0"]).windows("train")[[3]]
    assert batch.targets[0, 0].tolist() == pytest.approx([27.1, 27.0])
    batch = SeriesData(hourly, 24, 8, targets=["c1"]).windows("train")[[3]]
    assert batch.targets.shape == (1, 8, 1)
    assert batch.history.shape == (1, 24, 2)


def test_marks_of_the_windows(hourly: str) -> None:
    batch = SeriesData(hourly, 24, 8, marks="integer").windows("train")[[1]]
    assert batch.past_marks is not None
    assert batch.future_marks is not None
    # month, day, weekday (2020-01-01 was a Wednesday), hour
    assert batch.past_marks[0, 0].tolist() == [1, 1, 2, 1]
    assert batch.future_marks[0, 0].tolist() == [1, 2, 3, 1]
    daily = SeriesData(hourly, 24, 8, marks=True, marks_step="1D").description()
    assert daily.marks == ("weekday", "monthday", "yearday")


def test_batches_are_copies(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8)
    batch = data.windows("train")[[0, 1]]
    before = data.table.values.copy()
    batch.history.add_(1)
    np.testing.assert_array_equal(data.table.values, before)


def test_bad_numbers_of_windows(hourly: str) -> None:
    windows = SeriesData(hourly, 24, 8).windows("test")
    with pytest.raises(IndexError, match="windows are numbered 0 to 72"):
        windows[[73]]
    assert isinstance(windows[[]], SeriesBatch)


# -- order ---------------------------------------------------------------------------------------


def test_training_sees_every_window_once_in_a_new_order(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8, batch_size=32, drop_last=False, seed=4)
    loader = data.train_dataloader()
    first = indices(loader)
    loader.sampler.set_epoch(1)  # type: ignore[union-attr]
    second = indices(loader)
    assert [len(batch) for batch in first] == [32] * 7 + [25]
    for epoch in (first, second):
        assert sorted(i for batch in epoch for i in batch) == list(range(249))
    assert first != second
    dropping = SeriesData(hourly, 24, 8, batch_size=32, seed=4)
    assert indices(dropping.train_dataloader()) == first[:7]


def test_training_resumes_at_any_batch(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8, batch_size=32)
    whole = data.train_dataloader()
    whole.sampler.set_epoch(2)  # type: ignore[union-attr]
    expected = indices(whole)
    resumed = SeriesData(hourly, 24, 8, batch_size=32)
    resumed.resume_at(2, 3)
    assert indices(resumed.train_dataloader()) == expected[3:]


def test_evaluation_keeps_the_order(hourly: str) -> None:
    data = SeriesData(hourly, 24, 8, batch_size=32, eval_batch_size=50)
    assert indices(data.test_dataloader()) == [list(range(50)), list(range(50, 73))]


# -- statistics ----------------------------------------------------------------------------------


def test_statistics_are_exact_and_constant_columns_have_deviation_one() -> None:
    values = np.random.default_rng(0).standard_normal((1000, 3)) * [1, 1e-3, 0] + [0, 1e6, 0.1]
    mean, std = column_statistics(values, [(0, 300), (500, 1000)])
    rows = np.r_[0:300, 500:1000]
    np.testing.assert_allclose(mean, values[rows].mean(0), rtol=1e-12)
    np.testing.assert_allclose(std[:2], values[rows, :2].std(0), rtol=1e-6)
    assert std[2] == 1.0


def test_a_constant_column_trains_as_zero(tmp_path: Path) -> None:
    table = hourly_rows(200)
    for row in table[1:]:
        row[1] = "7.5"
    data = SeriesData(write(tmp_path / "a.csv", table), 12, 6)
    normalized = data.normalizers()[0].normalize(data.windows("train")[[0]].history)
    assert normalized[..., 0].abs().max() == 0
    assert SeriesData(str(tmp_path / "a.csv"), 12, 6, normalize="none").normalizers()[
        0
    ].std.tolist() == [1, 1]
