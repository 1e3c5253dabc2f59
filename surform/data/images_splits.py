"""Which images train, validate and test: every class in its share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from surform.data.split_sources import default_split
from surform.data.splits import SPLITS, split_samples

__all__ = ["Labelled", "divide", "mixed_order"]


class Labelled(Protocol):
    """Samples with classes, some of which may be divided already."""

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, np.ndarray]

    def __len__(self) -> int: ...

    def hardest(self) -> np.ndarray:
        """(N,) the number of each sample's (most probable) class."""
        ...


def divide(
    source: Labelled,
    split: Mapping[str, float] | None,
    seed: int,
    validate_on_test: bool,
    what: str = "image",
) -> dict[str, np.ndarray]:
    """Numbers of the images, or other samples, of each split.

    Data that are divided already stay so. `split` divides their training images, or all where
    there are no parts.

    Args:
        split: "train", "validation", "test" -> a count or a fraction; None: 10 per cent for
            validation where there are no such images, and as many for a test of undivided data.
        seed: of the choice, which depends on nothing else.
        validate_on_test: the test images validate, too, as published code does.
        what: what samples are, in the singular.

    Raises:
        ValueError: splits that overlap, are empty, or are given twice.
    """
    parts = {name: np.asarray(numbers) for name, numbers in source.parts.items()}
    missing = [name for name in ("validation", "test") if name not in parts]
    if validate_on_test:
        missing = [name for name in missing if name != "validation"]
    held = [name for name in SPLITS if name != "train" and name not in missing]
    twice = [name for name in held if name in (split or ())]
    if twice:
        why = (
            f"protocol=paper validates on the test {what}s"
            if validate_on_test
            else "they are there"
        )
        raise ValueError(f"split names {twice[0]!r} {what}s of {source.name}, but {why} already")
    whole = parts.get("train", np.arange(len(source)))
    if split is None:
        lacking = [name for name in missing if name == "validation" or not parts]
        split = default_split(len(whole), lacking, source.name) if lacking else {"train": 1.0}
    ranges = split_samples(split, len(whole), source.name)
    order = whole[mixed_order(source.hardest()[whole], seed)]
    found = {name: np.sort(order[numbers.start : numbers.stop]) for name, numbers in ranges.items()}
    found = {**parts, **found}
    if validate_on_test and "test" in found:
        found["validation"] = found["test"]
    _require_every_class(source, found, what)
    return found


def mixed_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of which every stretch holds the classes in their shares, as near as can be."""
    generator = np.random.default_rng([seed, len(labels)])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        ranks = generator.permutation(len(own))
        place[own] = (ranks + generator.random()) / len(own)
    return np.argsort(place, kind="stable")


def _require_every_class(source: Labelled, found: Mapping[str, np.ndarray], what: str) -> None:
    seen = set(np.unique(source.hardest()[found["train"]]).tolist()) if "train" in found else set()
    lost = [name for number, name in enumerate(source.classes) if number not in seen]
    if lost and "train" in found:
        raise ValueError(
            f"no training {what} of {source.name} shows the class {lost[0]!r}: give more {what}s "
            "of it, a larger training split, or leave the class out"
        )
