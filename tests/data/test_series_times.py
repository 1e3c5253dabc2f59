"""Timestamps and the steps between them."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pytest

from surform.data.series_raw import numbered_row
from surform.data.series_step import Step, find_step
from surform.data.series_times import parse_times

pd = pytest.importorskip("pandas")


def parse(values: list, time_format: str | None = None) -> np.ndarray:
    raw = np.array(values, dtype=object)
    return parse_times(raw, "column 't'", numbered_row, time_format)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-07-01 00:00:00", "2016-07-01T00:00"),
        ("2016-07-01T05:30", "2016-07-01T05:30"),
        ("1990/1/1 0:00", "1990-01-01T00:00"),
        ("2016.7.1 5:06:07.25", "2016-07-01T05:06:07.25"),
        ("2016-07", "2016-07-01T00:00"),
        ("2016-07-01 12", "2016-07-01T12:00"),
        ("2016-07-01T00:00:00Z", "2016-07-01T00:00"),
        ("2016-07-01 00:00:00+02:00", "2016-06-30T22:00"),
        ("2016/7/1 0:00 -0530", "2016-07-01T05:30"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert parse([text])[0] == np.datetime64(expected, "us")


@pytest.mark.parametrize("text", ["1/7/2016", "July 2016", "2016-02-30", "2016", "24:00", "x"])
def test_texts_that_would_be_guesses(text: str) -> None:
    with pytest.raises(ValueError, match=r"row 0: .* is not a time; valid: 2016-07-01 00:00:00"):
        parse([text, "2016-07-01"])


def test_formats_numbers_and_objects() -> None:
    day = np.datetime64("2016-07-01", "us")
    assert parse(["1.7.2016"], "%d.%m.%Y")[0] == day
    assert parse([20160701], "%Y%m%d")[0] == day
    seconds = int(day.astype("datetime64[s]").astype(int))
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        number = np.array([seconds * factor])
        assert parse_times(number, "t", numbered_row, unit)[0] == day
    assert parse([str(seconds)], "s")[0] == day
    assert parse_times(np.array([seconds + 0.25]), "t", numbered_row, "s")[0] - day == 250_000
    assert parse([datetime(2016, 7, 1)])[0] == day
    assert parse([date(2016, 7, 1)])[0] == day
    assert parse(["0.5", "0.75"]).tolist() == [0.5, 0.75]
    with pytest.raises(ValueError, match="row 1: the time NaT is missing"):
        parse_times(np.array(["2016", "NaT"], "M8[us]"), "t", numbered_row)


@pytest.mark.parametrize(
    "freq", ["s", "15min", "h", "3h", "D", "7D", "MS", "ME", "QS", "YS", "2MS", "B"]
)
def test_steps_are_found_and_continued_as_pandas_does(freq: str) -> None:
    stamps = pd.date_range("2019-12-30", periods=90, freq=freq)
    times = stamps[:60].to_numpy().astype("datetime64[us]")
    step = find_step([times])
    assert step is not None
    positions, between = step.positions(times)
    assert positions.tolist() == list(range(60))
    assert not between.any()
    future = step.after(times[[59, 30]], 30)
    np.testing.assert_array_equal(future[0], stamps[60:].to_numpy().astype("datetime64[us]"))
    np.testing.assert_array_equal(future[1], stamps[31:61].to_numpy().astype("datetime64[us]"))
    assert Step.parse(step.text) == step
    assert pd.tseries.frequencies.to_offset(step.text) == pd.tseries.frequencies.to_offset(freq)


def test_gaps_and_numbers_do_not_hide_the_step() -> None:
    times = pd.date_range("2020", periods=60, freq="15min").to_numpy().astype("M8[us]")
    step = find_step([np.delete(times, [5, 6, 30])])
    assert step is not None
    assert step.text == "15min"
    assert step.positions(np.delete(times, [5]))[0][:7].tolist() == [0, 1, 2, 3, 4, 6, 7]
    numbers = 0.05 * np.arange(1000)
    step = find_step([numbers])
    assert step is not None
    assert step.positions(numbers)[0].tolist() == list(range(1000))
    assert step.after(numbers[-1:], 2)[0] == pytest.approx([50.0, 50.05])
    assert find_step([times[:1]]) is None


@pytest.mark.parametrize(
    ("text", "same"), [("1W", "7D"), ("60min", "1h"), ("24h", "1D"), ("h", "1h"), ("3MS", "QS")]
)
def test_spellings(text: str, same: str) -> None:
    assert Step.parse(text).text == same


def test_calendar_of_a_step() -> None:
    assert Step.parse("7D").calendar == "1W"
    assert Step.parse("10ms").calendar == "1s"
    assert Step.parse("15min").calendar == "15min"


def test_every_time_is_turned_into_utc_by_its_own_offset() -> None:
    local = pd.date_range("2024-03-30", periods=48, freq="1h", tz="Europe/Berlin")
    texts = np.array([str(time) for time in local], dtype=object)
    assert len({text[-6:] for text in texts}) == 2
    found = parse_times(texts, "column time", str)
    expected = local.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    np.testing.assert_array_equal(found, expected)
