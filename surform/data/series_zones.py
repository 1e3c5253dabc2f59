"""Rows that are days apart by a local clock, where a day may have 23 hours, though not by UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from surform.data.series_times import EPOCHS, moment_of, offset_zone

__all__ = ["local_days"]

_ALMOST_A_DAY = np.timedelta64(23, "h")


def local_days(
    raw: np.ndarray,
    times: np.ndarray,
    pieces: Sequence[slice],
    zone: str = "",
    time_format: str | None = None,
) -> np.ndarray | None:
    """The times as a local clock shows them, datetime64[us], where all rows lie at one time of day.

    They are regular in days, weeks and months, and have the calendar features of the place. None
    where rows are less than a day apart, or at several times of day, or where nothing is known of a
    local clock.

    Args:
        raw: as read: datetime64 in UTC, or texts and `datetime`s, perhaps with offsets.
        times: the same in UTC, datetime64[us].
        pieces: the rows of each series.
        zone: name of the time zone, such as "Europe/Berlin" or "UTC+09:00", where the source has
            one.
        time_format: of the texts.
    """
    if times.dtype.kind != "M" or any((np.diff(times[p]) < _ALMOST_A_DAY).any() for p in pieces):
        return None
    if zone:
        return _in_zone(times, zone)
    if raw.dtype.kind not in "OUS" or time_format in EPOCHS:
        return None
    if moment_of(raw[0], time_format).utcoffset() is None:
        return None
    clock = [moment_of(value, time_format).replace(tzinfo=None) for value in raw.tolist()]
    if len({moment.time() for moment in clock}) > 1:
        return None
    return np.array(clock, dtype="datetime64[us]")


def _in_zone(times: np.ndarray, name: str) -> np.ndarray | None:
    zone = _zone(name)
    if zone is None:
        return None
    moments = [moment.replace(tzinfo=UTC) for moment in times.tolist()]
    local = [moment.astimezone(zone) for moment in moments]
    usual = Counter(moment.time() for moment in local).most_common(1)[0][0]
    # a midnight that the clock leaps over shows as one o'clock
    same = (_lies_at(m, here, usual, zone) for m, here in zip(moments, local, strict=True))
    if not all(same):
        return None
    return np.array([datetime.combine(m.date(), usual) for m in local], dtype="datetime64[us]")


def _zone(name: str) -> tzinfo | None:
    """The zone of a name, or of an offset as pandas ("UTC+09:00") and Arrow ("+09:00") write it."""
    try:
        return offset_zone(name.removeprefix("UTC")) or ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _lies_at(moment: datetime, local: datetime, usual: time, zone: tzinfo) -> bool:
    there = datetime.combine(local.date(), usual, zone)
    return moment in (there.astimezone(UTC), there.replace(fold=1).astimezone(UTC))
