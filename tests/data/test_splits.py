from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surform.data.splits import split_samples


def test_train_begins_and_test_ends_the_file() -> None:
    found = split_samples({"train": 1024, "test": 100}, 2048, "f")
    assert found == {"train": range(1024), "test": range(1948, 2048)}


def test_fractions_are_rounded_down_but_not_by_rounding_errors() -> None:
    found = split_samples({"train": 0.7, "validation": 0.2, "test": 0.1}, 30, "f")
    assert [len(part) for part in found.values()] == [21, 6, 3]


@given(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)), st.integers(0, 30))
def test_splits_never_share_a_sample(counts: tuple[int, int, int], spare: int) -> None:
    names = ("train", "validation", "test")
    found = split_samples(dict(zip(names, counts, strict=True)), sum(counts) + spare, "f")
    chosen = [sample for part in found.values() for sample in part]
    assert len(set(chosen)) == sum(counts)
    assert [len(found[name]) for name in names] == list(counts)
    assert chosen == sorted(chosen)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"train": 8, "test": 3},
            "the splits overlap: train 8 \\+ test 3 = 11 samples, but f has 10",
        ),
        ({"train": 0.01}, "split train=0.01 is empty"),
        ({"train": 0}, "is empty"),
        ({"valid": 3}, "unknown split 'valid'"),
        ({"train": 1.5}, "a fraction is at most 1.0"),
        ({"train": -1}, "give a count or a fraction"),
        ({"train": True}, "give a count or a fraction"),
    ],
)
def test_impossible_splits_are_refused(split: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_samples(split, 10, "f")
