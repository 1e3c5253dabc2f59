"""Rolling origins: a test region cut into consecutive folds, each with the past that it may use.

Tashman, "Out-of-sample tests of forecasting accuracy" (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Fold", "rolling_folds"]


@dataclass(frozen=True)
class Fold:
    """Rows of one fold, counted so that series of different lengths share it.

    Args:
        number: from 1.
        origin: rows from the first test row to the end of the series.
        train: training rows; 0 = all rows before validation.
        validation: rows right before the origin.
        test: rows from the origin on.
    """

    number: int
    origin: int
    train: int
    validation: int
    test: int

    @property
    def split(self) -> dict[str, int]:
        """As `SeriesData` takes it."""
        return {
            "origin": self.origin,
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }


def rolling_folds(
    rows: Sequence[int],
    splits: Sequence[dict[str, tuple[int, int]]],
    folds: int,
    horizon: int,
    window: str = "expanding",
) -> list[Fold]:
    """Cut the test split into folds.

    Rows are counted from the end of each series. Where series end on different dates, a fold may
    hence train on rows of one that are later than the test rows of another; where fractions of
    unequal series begin at different distances, the shortest test split decides.

    Args:
        rows: of each series.
        splits: of each series, "train", "validation", "test" -> first row and end.
        folds: how many; the rows that do not divide go to the last one.
        horizon: every fold must hold one forecast at least.
        window: "expanding" trains on all rows before a fold's validation, "sliding" on as many as
            the training split has.

    Raises:
        ValueError: too many folds for the test split, or a split that lacks a part.
    """
    if window not in ("expanding", "sliding"):
        raise ValueError(f"window must be 'expanding' or 'sliding', not {window!r}")
    for part in ("train", "validation", "test"):
        if any(part not in split for split in splits):
            raise ValueError(f"a backtest needs a {part} split: give it in data.split")
    origins = {n - split["test"][0] for n, split in zip(rows, splits, strict=True)}
    lengths = {split["test"][1] - split["test"][0] for split in splits}
    origin, length = min(origins), min(lengths)
    if len(origins) > 1:  # fractions of series of different lengths: the shortest decides
        length = min(length, origin)
    if folds < 1 or length < folds * horizon:
        raise ValueError(
            f"the test split has {length} rows: that is room for 1 to {length // horizon} folds "
            f"of at least {horizon} rows (the horizon), not {folds}"
        )
    each = length // folds
    validation = min(split["validation"][1] - split["validation"][0] for split in splits)
    train = min(split["train"][1] - split["train"][0] for split in splits)
    return [
        Fold(
            number=k + 1,
            origin=origin - k * each,
            train=train if window == "sliding" else 0,
            validation=validation,
            test=each if k < folds - 1 else length - k * each,
        )
        for k in range(folds)
    ]
