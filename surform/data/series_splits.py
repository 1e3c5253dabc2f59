"""Which rows of a series train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surform.data.splits import SPLITS

__all__ = ["check_split", "split_rows"]

_ORIGIN, _START = "origin", "start"

# 12, 4 and 4 months of 30 days; what lies behind them is not used.
_PUBLISHED = {"etth": (8640, 2880, 2880), "ettm": (34560, 11520, 11520)}
_VALID = (
    "etth, ettm, ratio, or train, validation and test as fractions of the rows, as numbers of "
    "rows, or as the dates before which they end"
)


def check_split(split: str | Mapping[str, float | str]) -> None:
    """ValueError unless `split_rows` understands it."""
    if isinstance(split, str):
        if split not in (*_PUBLISHED, "ratio"):
            raise ValueError(f"split {split!r}: choose {_VALID}")
        return
    if _ORIGIN in split:
        return _check_origin(split)
    for name, amount in split.items():
        if name == _START and not isinstance(amount, str):
            raise ValueError(f"split {name}={amount!r}: give a date, beside other dates")
        if name not in (*SPLITS, _START):
            raise ValueError(f"unknown split {name!r}: choose {', '.join(SPLITS)}")
        if isinstance(amount, bool) or not isinstance(amount, int | float | str):
            raise ValueError(f"split {name}={amount!r}: give {_VALID}")
        if isinstance(amount, str):
            _date(name, amount)
        elif amount < 0 or (isinstance(amount, float) and amount > 1):
            raise ValueError(
                f"split {name}={amount}: a fraction is from 0.0 to 1.0, a count is whole"
            )
    if "train" not in split:
        raise ValueError(f"split {dict(split)} has no train")
    kinds = {type(amount) for amount in split.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"split {dict(split)} mixes counts, fractions and dates: use one kind (0.7, 8640 or "
            "'2017-07-01')"
        )
    if kinds == {float} and sum(split.values()) > 1 + 1e-9:  # type: ignore[arg-type]
        raise ValueError(f"the fractions of split {dict(split)} sum to {sum(split.values()):g} > 1")  # type: ignore[arg-type]


def split_rows(
    split: str | Mapping[str, float | str], rows: int, where: str, times: np.ndarray | None = None
) -> dict[str, tuple[int, int]]:
    """First row and end of each split, in the order train, validation, test.

    "ratio" is int(0.7 n) rows to train, int(0.2 n) to test and the rest between them to validate.
    Fractions end at the whole part of their sum so far times n, as the published PEMS split does;
    the two may differ by one row.

    Args:
        split: "etth", "ettm", "ratio", or "train", "validation", "test" -> a count of rows, a
            fraction of them, or the date before which the split ends; beside dates "start" -> the
            date from which rows are trained on. With "origin", a count of
            rows from the end of the series, all are counts around that row: test rows after it,
            validation rows before it, training rows before those (0: all that there are).
        rows: of the series.
        where: names the series in errors.
        times: of the rows, for dates.

    Raises:
        ValueError: more rows than there are, an empty training split, dates out of order.
    """
    if split == "ratio":
        train, test = int(0.7 * rows), int(0.2 * rows)
        return {
            "train": (0, train),
            "validation": (train, rows - test),
            "test": (rows - test, rows),
        }
    if isinstance(split, str):
        return _published(split, rows, where)
    if _ORIGIN in split:
        return _around_origin(split, rows, where)  # type: ignore[arg-type]
    names = [name for name in SPLITS if name in split]
    amounts = [split[name] for name in names]
    begin = 0
    if isinstance(amounts[0], str):
        dates = {name: str(split[name]) for name in (_START, *names) if name in split}
        ends = _ends_of_dates(dates, times, where)
        begin = ends.pop(0) if _START in split else 0
    elif isinstance(amounts[0], float):
        # 0.7 + 0.1 + 0.2 is a little less than 1
        ends = [int(part * rows + 1e-6) for part in np.cumsum(amounts).tolist()]  # type: ignore[arg-type]
    else:
        ends = np.cumsum(amounts).tolist()  # type: ignore[arg-type]
        if ends[-1] > rows:
            parts = " + ".join(f"{n} {c}" for n, c in zip(names, amounts, strict=True))
            raise ValueError(f"split: {parts} = {ends[-1]} rows, but {where} has {rows}")
    starts = [begin, *ends[:-1]]
    return {n: (a, b) for n, a, b in zip(names, starts, ends, strict=True)}


def _check_origin(split: Mapping[str, float | str]) -> None:
    names = (_ORIGIN, *SPLITS)
    for name in (*split, *names):
        amount = split.get(name)
        if name not in names or isinstance(amount, bool) or not isinstance(amount, int):
            raise ValueError(f"split {name}={amount!r}: with {_ORIGIN}, give {', '.join(names)}")
        if amount < (name != "train"):
            raise ValueError(f"split {name}={amount}: at least {int(name != 'train')} row")
    if split["test"] > split[_ORIGIN]:  # type: ignore[operator]
        raise ValueError(f"split: test {split['test']} is more than the {split[_ORIGIN]} rows left")


def _around_origin(split: Mapping[str, int], rows: int, where: str) -> dict[str, tuple[int, int]]:
    origin = rows - split[_ORIGIN]
    trained = origin - split["validation"]
    first = max(0, trained - split["train"]) if split["train"] else 0
    if trained <= first or (split["train"] and trained < split["train"]):
        raise ValueError(
            f"split: {where} has {rows} rows, which leaves {max(trained, 0)} for training before "
            f"validation {split['validation']} and origin {split[_ORIGIN]}"
        )
    return {
        "train": (first, trained),
        "validation": (trained, origin),
        "test": (origin, origin + split["test"]),
    }


def _published(name: str, rows: int, where: str) -> dict[str, tuple[int, int]]:
    counts = _PUBLISHED[name]
    if rows < sum(counts):
        raise ValueError(
            f"split {name!r} needs {sum(counts)} rows ({' + '.join(map(str, counts))}), {where} "
            f"has {rows}: use ratio, or fractions"
        )
    train, validation, test = np.cumsum(counts).tolist()
    return {"train": (0, train), "validation": (train, validation), "test": (validation, test)}


def _ends_of_dates(dates: dict[str, str], times: np.ndarray | None, where: str) -> list[int]:
    if times is None or times.dtype.kind != "M":
        raise ValueError(f"split has dates ({', '.join(dates.values())}), but {where} has no dates")
    moments = [_date(name, text) for name, text in dates.items()]
    if sorted(moments) != moments or len(set(moments)) < len(moments):
        raise ValueError(f"the dates of split are not in order: {', '.join(dates.values())}")
    return [int(np.searchsorted(times, moment)) for moment in moments]


def _date(name: str, text: str) -> np.datetime64:
    try:
        found = np.datetime64(text.strip().replace(" ", "T"), "us")
    except ValueError:
        found = np.datetime64("NaT")
    if np.isnat(found):
        raise ValueError(f"split {name}={text!r} is not a date such as 2017-07-01")
    return found
