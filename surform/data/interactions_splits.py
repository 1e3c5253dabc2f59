"""Which rows of a table of interactions train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from surform.data.splits import SPLITS

__all__ = ["BY", "check_split", "divide_rows", "split_counts"]

BY = ("random", "time", "last")
_DEFAULT = {"train": 0.8, "validation": 0.1, "test": 0.1}


def check_split(split: Mapping[str, Any] | None, by: str) -> None:
    """ValueError for splits that cannot be, before any file is opened."""
    if by not in BY:
        raise ValueError(f"split_by={by!r}: choose {', '.join(BY)}")
    if split is None:
        return
    if by == "last":
        raise ValueError("split_by='last' takes the last rows of every group: leave split out")
    for name in split:
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose {', '.join(SPLITS)}")
    if "train" not in split:
        raise ValueError(f"split has {', '.join(split) or 'nothing'}, but needs train")
    texts = [name for name, amount in split.items() if isinstance(amount, str)]
    if texts and (len(texts) < len(split) or by != "time"):
        raise ValueError(
            f"split {dict(split)} has dates: give one for each split, and split_by: time"
        )
    for name, amount in split.items():
        if isinstance(amount, str):
            continue
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount > 0:
            raise ValueError(f"split {name}={amount!r}: give a share, a number of rows or a date")
    if not texts and all(isinstance(amount, float) for amount in split.values()):
        total = sum(split.values())
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of split add up to {total:g}, more than all rows")


def divide_rows(
    rows: int,
    where: str,
    split: Mapping[str, Any] | None = None,
    by: str = "random",
    seed: int = 0,
    times: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Per row the number of its split in `SPLITS`, or 3: none (uint8).

    Args:
        split: "train", "validation", "test" -> a share, a number of rows, or (by time) the date
            before which the split ends. Train comes first, test last; what is left over belongs to
            none. Default: 80, 10 and 10 per cent, of all rows together.
        by: "random": the order is `numpy.random.RandomState(seed).permutation(rows)`, which is the
            same in every version of NumPy; "time": rows in the order of their times, those of one
            time as they stand; "last": the last row of each group tests, the one before validates,
            groups of two rows only test, of one only train, and so do rows without a group.
        times: (rows,), needed unless by is "random".
        groups: (rows,) whole numbers, needed for "last"; below 0: no group.

    Raises:
        ValueError: a split without rows.
    """
    codes = np.full(rows, len(SPLITS), dtype=np.uint8)
    if by == "last":
        assert times is not None
        assert groups is not None
        codes[:] = _last_rows(times, groups)
    else:
        given = dict(_DEFAULT if split is None else split)
        if any(isinstance(amount, str) for amount in given.values()):
            assert times is not None
            _by_dates(codes, given, times, where)
        else:
            if by == "random":
                order = np.random.RandomState(seed).permutation(rows)
            else:
                order = np.argsort(times, kind="stable")  # type: ignore[arg-type]
            for name, (first, end) in _bounds(given, rows, where).items():
                codes[order[first:end]] = SPLITS.index(name)
    wanted = SPLITS if split is None else tuple(split)
    counts = split_counts(codes)
    for name in wanted:
        if name not in counts:
            raise ValueError(f"split {name} is empty: {where} has {rows} rows, none of them in it")
    return codes


def split_counts(codes: np.ndarray) -> dict[str, int]:
    """How many rows each split has, of those that have any."""
    # counting bytes one split at a time takes an eighth of what `bincount` does
    counts = {name: int(np.count_nonzero(codes == n)) for n, name in enumerate(SPLITS)}
    return {name: count for name, count in counts.items() if count}


def _bounds(given: Mapping[str, Any], rows: int, where: str) -> dict[str, tuple[int, int]]:
    """First row and end of each split; shares are added up first, so that none is lost."""
    found: dict[str, tuple[int, int]] = {}
    at, end = 0.0, 0
    for name in SPLITS:
        if name not in given:
            continue
        amount = given[name]
        if isinstance(amount, float) and amount > 1:
            raise ValueError(
                f"split {name}={amount}: a share is at most 1.0, a number of rows is whole"
            )
        at += amount * rows if isinstance(amount, float) else amount
        found[name] = (end, int(at + 1e-6))
        end = found[name][1]
    if end > rows:
        parts = " + ".join(f"{name} {b - a}" for name, (a, b) in found.items())
        raise ValueError(f"the splits overlap: {parts} = {end} rows, but {where} has {rows}")
    return found


def _by_dates(codes: np.ndarray, given: Mapping[str, str], times: np.ndarray, where: str) -> None:
    """Each split from the end of the one before to its date, which is not in it."""
    before = None
    for name in SPLITS:
        if name not in given:
            continue
        try:
            end = _date(given[name])
        except ValueError:
            raise ValueError(
                f"split {name}={given[name]!r} is no date such as 2014-10-30 or 2014-10-30T12:00"
            ) from None
        if before is not None and end <= before:
            raise ValueError(f"split {name} ends at {given[name]}, not after the split before it")
        if times.dtype.kind != "M":
            raise ValueError(f"split has dates, but the times of {where} are plain numbers")
        own = times < end
        if before is not None:
            own &= times >= before
        codes[own] = SPLITS.index(name)
        before = end


def _date(text: str) -> np.datetime64:
    """Of an ISO date, UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return np.datetime64(text, "us")  # which takes 2014-10, too
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(found, "us")


def _last_rows(times: np.ndarray, groups: np.ndarray) -> np.ndarray:
    order = np.lexsort((times, groups))
    own = groups[order]
    ends = np.flatnonzero(np.append(own[1:] != own[:-1], True))
    sizes = np.where(own[ends] < 0, 0, np.diff(np.concatenate([[-1], ends])))
    found = np.zeros(len(order), dtype=np.uint8)
    found[order[ends[sizes > 1]]] = SPLITS.index("test")
    found[order[ends[sizes > 2] - 1]] = SPLITS.index("validation")
    return found
