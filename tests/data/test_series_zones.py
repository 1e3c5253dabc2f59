"""Rows at one time of day of a local clock are days apart, also where the clock changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.data.series_module import SeriesData

pd = pytest.importorskip("pandas")

ZONE = "Europe/Berlin"  # summer time began on 31 March 2024 and ended on 27 October


def local(freq: str, rows: int = 60, start: str = "2024-03-01", zone: str = ZONE) -> Any:
    return pd.date_range(start, periods=rows, freq=freq, tz=zone)


def frame(times: Any) -> Any:
    return pd.DataFrame({"time": times, "a": np.arange(float(len(times)))})


def source(kind: str, table: Any, folder: Path) -> Any:
    """The table as pandas, polars or Arrow have it, in Parquet, or as text in CSV."""
    if kind == "polars":
        polars = pytest.importorskip("polars")
        times = table["time"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        column = polars.Series("time", times).dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE)
        return polars.DataFrame([column, polars.Series("a", table["a"].to_numpy())])
    if kind == "arrow":
        return pytest.importorskip("pyarrow").Table.from_pandas(table, preserve_index=False)
    if kind == "parquet":
        table.to_parquet(folder / "a.parquet")
        return folder / "a.parquet"
    if kind == "csv":
        table.to_csv(folder / "a.csv", index=False)
        return folder / "a.csv"
    return table if kind == "pandas" else table.set_index("time")


@pytest.mark.parametrize(("freq", "step"), [("D", "1D"), ("7D", "7D"), ("MS", "MS"), ("B", "B")])
def test_days_weeks_and_months_are_regular_across_a_change_of_the_clock(freq, step) -> None:
    times = local(freq)
    assert len({time.utcoffset() for time in times}) == 2
    table = SeriesData(frame(times), 6, 2).table
    assert table.step is not None
    assert table.step.text == step
    assert table.zone == ZONE
    naive = times.tz_localize(None).to_numpy().astype("datetime64[us]")
    np.testing.assert_array_equal(table.times, naive)


@pytest.mark.parametrize("kind", ["pandas", "index", "polars", "arrow", "parquet", "csv"])
def test_every_source_keeps_its_clock(kind: str, tmp_path: Path) -> None:
    data = SeriesData(source(kind, frame(local("D")), tmp_path), 6, 2, marks=True)
    assert data.description().step == "1D"
    # midnight is the first moment of its own day, not one of the day before
    weekday = data.windows("train")[[0]].past_marks[0, 0, 0]
    assert weekday == pytest.approx(4 / 6 - 0.5)  # 1 March 2024 was a Friday
    later = data.forecast_windows().future_times([0])[0]
    assert later.tolist() == [pd.Timestamp("2024-04-30"), pd.Timestamp("2024-05-01")]


@pytest.mark.parametrize("kind", ["pandas", "arrow", "parquet", "csv"])
@pytest.mark.parametrize("offset", ["+05:30", "-03:00"])
def test_days_and_months_of_a_fixed_offset_are_those_of_its_place(kind, offset, tmp_path) -> None:
    months = frame(local("MS", zone=offset))
    data = SeriesData(source(kind, months, tmp_path), 6, 2, marks=True)
    assert data.description().step == "MS"
    assert data.windows("train")[[0]].past_marks[0, 0, 0] == pytest.approx(2 / 11 - 0.5)  # March
    assert data.table.times[0] == np.datetime64("2024-03-01")


def test_hours_stay_regular_in_utc(tmp_path: Path) -> None:
    times = local("h", 72, "2024-03-30")
    for kind in ("pandas", "csv"):
        table = SeriesData(source(kind, frame(times), tmp_path), 6, 2).table
        assert (table.step.text, table.zone) == ("1h", "")
        utc = times.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
        np.testing.assert_array_equal(table.times, utc)


def test_a_midnight_that_the_clock_leaps_over_is_no_hole() -> None:
    days = pd.Series(pd.date_range("2024-03-20", periods=30, freq="D"))
    times = days.dt.tz_localize("Asia/Beirut", nonexistent="shift_forward")
    shown = [time.hour for time in times]
    assert shown.count(1) == 1  # on 31 March the day began at one
    table = SeriesData(frame(times), 6, 2).table
    assert table.step.text == "1D"
    assert set(np.diff(table.times).tolist()) == {pd.Timedelta("1D").to_pytimedelta()}


def test_series_in_zones_of_their_own_share_their_days() -> None:
    parts = [
        pd.DataFrame({"id": zone, "time": local("D", zone=zone).astype(object), "a": 1.0})
        for zone in (ZONE, "America/New_York")
    ]
    table = SeriesData(pd.concat(parts, ignore_index=True), 6, 2, id="id").table
    first, second = (table.times[span.start : span.stop] for span in table.spans)
    np.testing.assert_array_equal(first, second)


@pytest.mark.fault
def test_days_at_several_times_of_day_stay_irregular() -> None:
    times = local("D").to_series().reset_index(drop=True)
    times[10] += pd.Timedelta("2h")
    with pytest.raises(ValueError, match="does not lie on the step of 1D"):
        _ = SeriesData(frame(times), 6, 2).table
