"""The time between two rows: found in the data, checked along them, continued beyond them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Step", "find_step"]

_MICRO = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "D": 86400 * 10**6}
_SPELT = {
    "t": "min", "m": "min", "d": "D", "S": "s", "H": "h", "T": "min", "L": "ms", "U": "us",
}  # fmt: skip
_MONTHS = {"MS": 1, "QS": 3, "YS": 12, "ME": 1, "QE": 3, "YE": 12}
_VALID = "1h, 15min, 1D, 7D, B (Monday to Friday), MS or ME (months), QS, QE, YS, YE"


@dataclass(frozen=True)
class Step:
    """A fixed interval, a number of months, weekdays, or a plain number.

    Args:
        text: the name in pandas' words ("15min", "MS", "B"); "" of plain numbers and of rows.
        micro: microseconds of a fixed interval.
        months: months between rows that all lie on the first or last day of a month.
        number: between times that are plain numbers.
    """

    text: str
    micro: int = 0
    months: int = 0
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Step:
        """The step a text names; ValueError says which are known."""
        match = re.fullmatch(r"(\d*)\s*([A-Za-z]+)", text.strip())
        if match is None or match[1] == "0":
            raise ValueError(f"step {text!r}: choose {_VALID}")
        count, unit = int(match[1] or 1), match[2]
        if unit in ("W", "w"):
            count, unit = 7 * count, "D"
        unit = _SPELT.get(unit, unit)
        if unit in _MICRO:
            return cls._fixed(count * _MICRO[unit])
        if unit in _MONTHS:
            return cls._monthly(count * _MONTHS[unit], end=unit.endswith("E"))
        if unit == "B" and count == 1:
            return cls("B")
        raise ValueError(f"step {text!r}: choose {_VALID}")

    @classmethod
    def _fixed(cls, micro: int) -> Step:
        unit = max((u for u in _MICRO if micro % _MICRO[u] == 0), key=lambda u: _MICRO[u])
        return cls(f"{micro // _MICRO[unit]}{unit}", micro=micro)

    @classmethod
    def _monthly(cls, months: int, *, end: bool) -> Step:
        letter = next(x for x, n in (("Y", 12), ("Q", 3), ("M", 1)) if months % n == 0)
        count = months // _MONTHS[f"{letter}S"]
        return cls(f"{count if count > 1 else ''}{letter}{'E' if end else 'S'}", months=months)

    @property
    def calendar(self) -> str:
        """The step whose calendar features suit: seven days are a week, milliseconds seconds."""
        if self.micro and self.micro % (7 * _MICRO["D"]) == 0:
            return "1W"
        return "1s" if 0 < self.micro < _MICRO["s"] else self.text

    def positions(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many steps each time lies after the first, and which times lie between steps."""
        if self.number:
            exact = (times - times[0]) / self.number
            steps = np.round(exact).astype(np.int64)
            slack = 1e-3 + 4 * np.finfo(np.float64).eps * np.abs(times).max() / self.number
            return steps, np.abs(exact - steps) > slack
        if self.text == "B":
            days = times.astype("datetime64[D]")
            off = ~np.is_busday(days) | (times - days != times[0] - days[0])
            return np.busday_count(days[0], days), off
        if self.months:
            return self._month_positions(times)
        since = (times - times[0]).astype(np.int64)
        return since // self.micro, since % self.micro != 0

    def after(self, last: np.ndarray, count: int) -> np.ndarray:
        """The `count` times that follow each of `last` `(n,)`: `(n, count)`."""
        ahead = np.arange(1, count + 1)
        if self.number:
            return last[:, None] + self.number * ahead
        if self.text == "B":
            days = last.astype("datetime64[D]")
            later = np.busday_offset(days[:, None], ahead, roll="backward")
            return later.astype("datetime64[us]") + (last - days)[:, None]
        if self.months:
            end = self.text.endswith("E")
            moved = last + np.timedelta64(1, "D") if end else last
            months = moved.astype("datetime64[M]")
            later = (months[:, None] + self.months * ahead).astype("datetime64[us]")
            later = later + (moved - months.astype("datetime64[us]"))[:, None]
            return later - np.timedelta64(1, "D") if end else later
        return last[:, None] + self.micro * ahead.astype("timedelta64[us]")

    def _month_positions(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = times + np.timedelta64(1, "D") if self.text.endswith("E") else times
        months = moved.astype("datetime64[M]")
        within = moved - months
        since = (months - months[0]).astype(np.int64)
        off = (
            (within != within[0]) | (within >= np.timedelta64(1, "D")) | (since % self.months != 0)
        )
        return since // self.months, off


def find_step(series: Iterable[np.ndarray]) -> Step | None:
    """The most frequent interval between neighbours; None where no two rows are in order."""
    moments = list(series)
    gaps = np.concatenate([np.diff(times) for times in moments])
    gaps = gaps[gaps > np.zeros((), gaps.dtype)]
    if not len(gaps):
        return None
    if gaps.dtype.kind == "f":
        return Step("", number=_numeric(gaps))
    values, counts = np.unique(gaps.astype(np.int64), return_counts=True)
    most = int(values[np.argmax(counts)])
    day = _MICRO["D"]
    if most >= 28 * day and most % day == 0:
        found = _months_between(np.concatenate(moments))
        if found is not None:
            return found
    if most == day and _only_weekdays(moments, values, counts):
        return Step("B")
    return Step._fixed(most)


def _numeric(gaps: np.ndarray) -> float:
    """The most frequent of gaps that rounding blurs: the mean of those near the median."""
    middle = np.median(gaps)
    near = gaps[np.abs(gaps - middle) <= 1e-3 * middle]
    return float(near.mean())


def _months_between(times: np.ndarray) -> Step | None:
    day = np.timedelta64(1, "D")
    for end in (False, True):
        moved = times + day if end else times
        months = moved.astype("datetime64[M]")
        if not (moved - months < day).all():
            continue
        gaps = np.diff(months.astype(np.int64))
        gaps = gaps[gaps > 0]
        values, counts = np.unique(gaps, return_counts=True)
        return Step._monthly(int(values[np.argmax(counts)]), end=end) if len(gaps) else None
    return None


def _only_weekdays(moments: list[np.ndarray], gaps: np.ndarray, counts: np.ndarray) -> bool:
    """Whether no row lies on a weekend, and most weekends are skipped by gaps of three days."""
    if not all(np.is_busday(times.astype("datetime64[D]")).all() for times in moments):
        return False
    over_weekends = counts[gaps == 3 * _MICRO["D"]].sum()
    return bool(over_weekends and over_weekends * 20 >= counts.sum())
