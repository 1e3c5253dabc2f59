"""Rolling origins: a test region cut into consecutive folds, each with the past that it may use.

Tashman, "Out-of-sample tests of forecasting accuracy" (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Fold", "rolling_folds"]

Rows = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Fold:
    """One fold.

    Args:
        number: from 1.
        split: as `SeriesData` takes it: validation rows right before the origin, test rows from it
            on, training rows before those.
    """

    number: int
    split: dict[str, Any]


def rolling_folds(
    rows: Sequence[int],
    splits: Sequence[Rows],
    folds: int,
    horizon: int,
    window: str = "expanding",
    times: Sequence[np.ndarray] = (),
) -> list[Fold]:
    """Cut the test split into folds.

    Several series with dates are cut at the same dates, so that what a fold trains on is earlier
    than what it forecasts in any of them: the first origin is where the last of them begins to
    test. Otherwise rows are counted from the end of each series.

    Args:
        rows: of each series.
        splits: of each series, "train", "validation", "test" -> first row and end.
        folds: how many; the rows that do not divide go to the last one.
        horizon: every fold must hold one forecast at least.
        window: "expanding" trains on all rows from where the training split begins to a fold's
            validation, "sliding" on as many as the training split has.
        times: of each series, datetime64; () without dates.

    Raises:
        ValueError: too many folds for the test split, or a split that lacks a part.
    """
    if window not in ("expanding", "sliding"):
        raise ValueError(f"window must be 'expanding' or 'sliding', not {window!r}")
    for part in ("train", "validation", "test"):
        if any(part not in split for split in splits):
            raise ValueError(f"a backtest needs a {part} split: give it in data.split")
        if all(split[part][0] == split[part][1] for split in splits):
            raise ValueError(f"a backtest needs {part} rows: data.split leaves none")
    if len(rows) > 1 and len(times):
        return _by_date(times, splits, folds, horizon, window)
    origins = {n - split["test"][0] for n, split in zip(rows, splits, strict=True)}
    lengths = {split["test"][1] - split["test"][0] for split in splits}
    origin, length = min(origins), min(lengths)
    if len(origins) > 1:  # fractions of series of different lengths: the shortest decides
        length = min(length, origin)
    each = _length_of_folds(length, folds, horizon)
    validation = min(split["validation"][1] - split["validation"][0] for split in splits)
    train = min(split["train"][1] - split["train"][0] for split in splits)
    grows = window == "expanding"
    from_first = grows and not any(split["train"][0] for split in splits)
    return [
        Fold(
            k + 1,
            {
                "origin": origin - k * each,
                "train": 0 if from_first else train + grows * k * each,
                "validation": validation,
                "test": each if k < folds - 1 else length - k * each,
            },
        )
        for k in range(folds)
    ]


def _by_date(
    times: Sequence[np.ndarray], splits: Sequence[Rows], folds: int, horizon: int, window: str
) -> list[Fold]:
    """Folds that begin and end at the same dates in all series, counted in dates that there are."""
    calendar = np.unique(np.concatenate(times))

    def after(part: str) -> int:
        """The first date behind the last row of a part, over all series."""
        last = [t[s[part][1] - 1] for t, s in zip(times, splits, strict=True) if s[part][1] > 0]
        return int(np.searchsorted(calendar, max(last), "right"))

    trained, origin, end = after("train"), after("validation"), after("test")
    trains = [split["train"] for split in splits]
    first = [t[a] for t, (a, b) in zip(times, trains, strict=True) if a < b]
    begin = int(np.searchsorted(calendar, min(first)))
    each = _length_of_folds(end - origin, folds, horizon)

    def date(place: int) -> str:
        moment = (
            calendar[place] if place < len(calendar) else calendar[-1] + np.timedelta64(1, "us")
        )
        return str(moment)

    found = []
    for k in range(folds):
        start = origin + k * each
        stop = start + each if k < folds - 1 else end
        split = {
            "train": date(start - (origin - trained)),
            "validation": date(start),
            "test": date(stop),
        }
        if window == "sliding" or begin:
            split = {"start": date(begin + k * each * (window == "sliding"))} | split
        found.append(Fold(k + 1, split))
    return found


def _length_of_folds(length: int, folds: int, horizon: int) -> int:
    if folds < 1 or length < folds * horizon:
        raise ValueError(
            f"the test split has {length} rows: that is room for 1 to {length // horizon} folds "
            f"of at least {horizon} rows (the horizon), not {folds}"
        )
    return length // folds
