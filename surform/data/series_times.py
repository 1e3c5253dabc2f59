"""Timestamps: read them from text, numbers or frames, each fault with its row and value."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

__all__ = ["EPOCHS", "looks_like_time", "moment_of", "offset_zone", "parse_times", "shown_time"]

EPOCHS = ("s", "ms", "us", "ns")

_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})(?:[-/.](?P<day>\d{1,2}))?"
    r"(?:[ T]+(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2}))?(?::(?P<second>\d{1,2})"
    r"(?:\.(?P<part>\d{1,9}))?)?)?\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
_OFFSET = re.compile(r"[+-]\d{2}:?\d{2}")
_VALID = "2016-07-01 00:00:00 or 2016/7/1 0:00; for other forms give time_format"


def looks_like_time(text: str) -> bool:
    """Whether `parse_times` would take a text for a time without a `time_format`."""
    try:
        _from_text(text)
    except ValueError:
        return False
    return True


def shown_time(time: object) -> str:
    """A time for people: to the second where it is a whole one; numbers as they are."""
    if isinstance(time, np.datetime64):
        second = time.astype("datetime64[s]")
        return str(second if second == time else time).replace("T", " ")
    return f"{time:g}" if isinstance(time, float) else str(time)


def parse_times(
    raw: np.ndarray,
    where: str,
    place: Callable[[int], str],
    time_format: str | None = None,
) -> np.ndarray:
    """Times as datetime64[us] without a zone, or as float64 where they are plain numbers.

    Times with an offset from UTC are turned into UTC, each by its own.

    Args:
        raw: object (text or `datetime`), datetime64 or numbers, `(rows,)`.
        where: names the file and column in errors.
        place: where a row stands.
        time_format: as for `datetime.strptime`, or "s", "ms", "us", "ns" since 1970; None: year
            first, or numbers that are not dates.

    Raises:
        ValueError: a missing or unreadable time, or some with a zone and some without; names row
            and value.
    """
    if raw.dtype.kind == "M":
        times = raw.astype("datetime64[us]")
        _refuse(np.isnat(times), raw, where, place, "is missing")
        return times
    if raw.dtype.kind in "iuf" and not (time_format and "%" in time_format):
        numbers = raw.astype(np.float64)
        _refuse(~np.isfinite(numbers), raw, where, place, "is not a time")
        return numbers if time_format is None else _since_epoch(raw, time_format)
    if raw.dtype.kind in "iu":
        raw = raw.astype(str).astype(object)
    if raw.dtype.kind not in "OUS":
        raise ValueError(f"{where} holds {raw.dtype}, not times; valid: {_VALID}")
    if time_format in EPOCHS:
        return _since_epoch(_numbers(raw, where, place), time_format)
    if time_format is None and _all_numbers(raw):
        return _numbers(raw, where, place)
    return _from_texts(raw, where, place, time_format)


def _from_texts(
    raw: np.ndarray, where: str, place: Callable[[int], str], time_format: str | None
) -> np.ndarray:
    moments: list[datetime] = []
    for row, value in enumerate(raw.tolist()):
        try:
            moments.append(moment_of(value, time_format))
        except (ValueError, OverflowError):
            valid = f"the form {time_format!r}" if time_format else _VALID
            raise ValueError(
                f"{where}, {place(row)}: {str(value)[:40]!r} is not a time; valid: {valid}"
            ) from None
    zoned = [moment.utcoffset() is not None for moment in moments]
    if any(zoned) and not all(zoned):
        row = zoned.index(not zoned[0])
        raise ValueError(
            f"{where} mixes times with and without a zone: {raw[0]!r} at {place(0)}, {raw[row]!r} "
            f"at {place(row)}; write all times in one zone, such as UTC"
        )
    if any(zoned):
        moments = [moment.astimezone(UTC).replace(tzinfo=None) for moment in moments]
    return np.array(moments, dtype="datetime64[us]")


def moment_of(value: object, time_format: str | None = None) -> datetime:
    """The time of one row, with its offset where it has one; ValueError where it is none."""
    if isinstance(value, datetime):
        if value != value:  # pandas' NaT is a datetime
            raise ValueError(value)
        return value
    text = str(value).strip()
    return datetime.strptime(text, time_format) if time_format else _from_text(text)


def _from_text(text: str) -> datetime:
    try:
        if len(text) >= 10:  # "2016" or "1230" alone would be guessing
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    match = _YEAR_FIRST.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    numbers = {k: int(match[k] or 0) for k in ("year", "month", "hour", "minute", "second")}
    part = int((match["part"] or "0").ljust(9, "0")[:6])
    zone = timezone.utc if match["zone"] == "Z" else offset_zone(match["zone"] or "")  # noqa: UP017
    return datetime(day=int(match["day"] or 1), microsecond=part, tzinfo=zone, **numbers)


def offset_zone(text: str) -> timezone | None:
    """The zone of an offset from UTC, "+09:00" or "-0330"; None where the text is none."""
    if not _OFFSET.fullmatch(text):
        return None
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


def _all_numbers(raw: np.ndarray) -> bool:
    """Whether texts are plain numbers: model time, or a count of days."""
    try:
        float(raw[0])
        float(raw[-1])
    except (ValueError, TypeError):
        return False
    return True


def _numbers(raw: np.ndarray, where: str, place: Callable[[int], str]) -> np.ndarray:
    found = np.empty(len(raw))
    for row, value in enumerate(raw.tolist()):
        try:
            found[row] = float(value)
        except (ValueError, TypeError):
            found[row] = np.nan
        if not np.isfinite(found[row]):
            raise ValueError(
                f"{where}, {place(row)}: {str(value)[:40]!r} is not a time, the first one is the "
                f"number {raw[0]}"
            )
    return found


def _since_epoch(numbers: np.ndarray, unit: str) -> np.ndarray:
    if unit not in EPOCHS:
        raise ValueError(f"time_format {unit!r} of times that are numbers: choose s, ms, us or ns")
    if numbers.dtype.kind == "f":  # whole part first: float seconds of today resolve 0.2 us only
        micro = np.round(numbers * {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[unit])
        return micro.astype(np.int64).astype("datetime64[us]")
    return numbers.astype(np.int64).astype(f"datetime64[{unit}]").astype("datetime64[us]")


def _refuse(
    bad: np.ndarray, raw: np.ndarray, where: str, place: Callable[[int], str], what: str
) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{where}, {place(row)}: the time {raw[row]} {what}; valid: {_VALID}")
