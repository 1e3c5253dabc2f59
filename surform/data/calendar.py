"""Calendar features of time stamps: what every forecaster knows of the future.

The columns that belong to each frequency, their order and their scaling are those of GluonTS as
the Informer uses them (Zhou et al., 2021, arXiv 2012.07436). numpy only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import numpy as np

__all__ = ["calendar_features", "calendar_names", "frequency_of"]

Encoding = Literal["continuous", "integer"]

_SPELLINGS = {
    "second": ("s", "S"),
    "minute": ("t", "T", "min"),
    "hour": ("h", "H"),
    "day": ("d", "D"),
    "business day": ("b", "B"),
    "week": ("w", "W"),
    "month": ("m", "M", "MS", "ME", "BM", "BMS", "BME"),
    "quarter": ("q", "Q", "QS", "QE", "BQ", "BQS", "BQE"),
    "year": ("a", "A", "AS", "y", "Y", "YS", "YE", "BA", "BAS", "BY", "BYS", "BYE"),
}
_FREQUENCIES = {letter: name for name, all_of in _SPELLINGS.items() for letter in all_of}
_DAYS = ("weekday", "monthday", "yearday")
_CONTINUOUS = {
    "second": ("second", "minute", "hour", *_DAYS),
    "minute": ("minute", "hour", *_DAYS),
    "hour": ("hour", *_DAYS),
    "day": _DAYS,
    "business day": _DAYS,
    "week": ("monthday", "week"),
    "month": ("month",),
    "quarter": ("month",),
    "year": ("month",),  # constant; the official code has no column, but weights for one
}
_INTEGER = ("month", "monthday", "weekday", "hour", "quarter_hour")
_INTEGER_COLUMNS = {"second": 5, "minute": 5, "hour": 4, "day": 3, "business day": 3}  # others: 1
# column -> (smallest value, range); second / 59 - 0.5, (month - 1) / 11 - 0.5, ...
_RANGES = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "weekday": (0, 6),
    "monthday": (1, 30),
    "yearday": (1, 365),
    "week": (1, 52),
    "month": (1, 11),
}


def frequency_of(step: str) -> str:
    """The frequency's name ("hour", "minute", ...) of a time step such as "1h", "15min" or "MS".

    Multiples ("3h") and anchors ("W-SUN") do not matter; "m" and "M" are months, "min" minutes.

    Raises:
        ValueError: a step that is none of these.
    """
    found = re.fullmatch(r"\s*\d*\s*([A-Za-z]+)(?:-[A-Z]{3})?\s*", step)
    letters = found.group(1) if found else ""
    if letters not in _FREQUENCIES:
        raise ValueError(
            f"time step {step!r} is not known: use one such as 1s, 15min, 1h, 1D, 1B, 1W, MS, QS "
            "or YS"
        )
    return _FREQUENCIES[letters]


def calendar_names(step: str, encoding: Encoding = "continuous") -> tuple[str, ...]:
    """The columns of `calendar_features`, in order; ValueError for unknown steps or encodings."""
    frequency = frequency_of(step)
    if encoding == "continuous":
        return _CONTINUOUS[frequency]
    if encoding == "integer":
        return _INTEGER[: _INTEGER_COLUMNS.get(frequency, 1)]
    raise ValueError(f"encoding is {encoding!r}, but must be one of ['continuous', 'integer']")


def calendar_features(
    times: np.ndarray, step: str, encoding: Encoding = "continuous"
) -> np.ndarray:
    """Calendar features of each time stamp, (n, M); columns as `calendar_names` has them.

    Args:
        times: (n,) datetime64, without time zone.
        step: time between two stamps: "1s", "15min", "1h", "1D", "1B", "1W", "MS", "QS", "YS", or
            one of the letters s, t, h, d, b, w, m, q, a.
        encoding: "continuous" scales every column to [-0.5, 0.5] (float64): second, minute, hour,
            weekday (Monday first), day of the month, day of the year, ISO week, month. "integer"
            gives int64: month 1..12, day 1..31, weekday 0..6, hour 0..23, quarter of the hour 0..3.

    Raises:
        ValueError: an unknown step or encoding, or a missing time stamp (NaT).
        TypeError: times are not datetime64.
    """
    names = calendar_names(step, encoding)
    times = np.asarray(times)
    if times.dtype.kind != "M":
        raise TypeError(f"times must be datetime64, not {times.dtype}")
    if times.ndim != 1:
        raise ValueError(f"times has shape {times.shape}, expected one axis")
    missing = np.flatnonzero(np.isnat(times))
    if missing.size:
        raise ValueError(f"time stamp {missing[0]} is missing (NaT)")
    columns = [_COLUMNS[name](times) for name in names]
    if encoding == "integer":
        return np.stack(columns, axis=1)
    scaled = []
    for name, column in zip(names, columns, strict=True):
        smallest, span = _RANGES[name]
        scaled.append((column - smallest) / span - 0.5)
    return np.stack(scaled, axis=1)


def _since(times: np.ndarray, unit: str, whole: str) -> np.ndarray:
    """Whole units passed since the last start of the larger unit: int64."""
    fine, start = times.astype(f"datetime64[{unit}]"), times.astype(f"datetime64[{whole}]")
    return (fine - start.astype(fine.dtype)).astype(np.int64)


def _weekday(times: np.ndarray) -> np.ndarray:
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday


def _iso_week(times: np.ndarray) -> np.ndarray:
    """A week belongs to the year that its Thursday lies in."""
    thursday = times.astype("datetime64[D]") + (3 - _weekday(times))
    return _since(thursday, "D", "Y") // 7 + 1


_COLUMNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "second": lambda times: _since(times, "s", "m"),
    "minute": lambda times: _since(times, "m", "h"),
    "quarter_hour": lambda times: _since(times, "m", "h") // 15,
    "hour": lambda times: _since(times, "h", "D"),
    "weekday": _weekday,
    "monthday": lambda times: _since(times, "D", "M") + 1,
    "yearday": lambda times: _since(times, "D", "Y") + 1,
    "week": _iso_week,
    "month": lambda times: _since(times, "M", "Y") + 1,
}
