"""Splits around an origin that is counted from the end: what rolling backtests are made of."""

from __future__ import annotations

import numpy as np
import pytest

from surform.data.series_splits import check_split, split_rows


def test_rows_around_an_origin():
    split = {"origin": 30, "train": 0, "validation": 10, "test": 15}
    check_split(split)
    found = split_rows(split, 100, "t")
    assert found == {"train": (0, 60), "validation": (60, 70), "test": (70, 85)}
    sliding = split_rows(split | {"train": 40}, 100, "t")
    assert sliding["train"] == (20, 60)


def test_rows_before_the_date_of_the_start_are_not_trained_on():
    times = np.datetime64("2020-01-01", "h") + np.arange(240)
    split = {"start": "2020-01-02", "train": "2020-01-05", "test": "2020-02-01"}
    check_split(split)
    found = split_rows(split, 240, "a", times.astype("datetime64[us]"))
    assert found == {"train": (24, 96), "test": (96, 240)}
    for wrong, words in (
        ({"start": 3}, "split start=3: give a date"),
        ({"start": "2020-01-02", "train": 0.5}, "mixes counts, fractions and dates"),
        ({"start": "soon"}, "start='soon' is not a date"),
    ):
        with pytest.raises(ValueError, match=words):
            check_split(split | wrong)
    with pytest.raises(ValueError, match="not in order: 2020-01-06, 2020-01-05"):
        split_rows(split | {"start": "2020-01-06"}, 240, "a", times)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": 31}, "test 31 is more than the 30 rows left"),
        ({"validation": 0}, "validation=0: at least 1 row"),
        ({"validation": 0.1}, "with origin, give origin, train, validation, test"),
        ({"tset": 3}, "tset=3"),
        ({"test": None}, "test=None"),
    ],
)
def test_wrong_origins_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        check_split({"origin": 30, "train": 0, "validation": 10, "test": 15} | change)


@pytest.mark.fault
def test_too_few_rows_before_the_origin():
    split = {"origin": 30, "train": 61, "validation": 10, "test": 15}
    with pytest.raises(ValueError, match="leaves 60 for training"):
        split_rows(split, 100, "series.csv")
