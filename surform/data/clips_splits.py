"""Which clips train, validate and test: every class in its share, where clips have one each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surform.data.clips_source import ClipSource
from surform.data.images_splits import mixed_order
from surform.data.split_sources import default_split
from surform.data.splits import SPLITS, split_samples

__all__ = ["divide_clips"]


def divide_clips(
    source: ClipSource, split: Mapping[str, float] | None, seed: int, validate_on_test: bool
) -> dict[str, np.ndarray]:
    """Numbers of the clips of each split; arguments as for `surform.data.images_splits.divide`.

    Raises:
        ValueError: splits that overlap, are empty, or are given twice; a class that no training
            clip has.
    """
    parts = {name: np.asarray(numbers) for name, numbers in source.parts.items()}
    missing = [name for name in ("validation", "test") if name not in parts]
    if validate_on_test:
        missing = [name for name in missing if name != "validation"]
    twice = [n for n in SPLITS if n != "train" and n not in missing and n in (split or ())]
    if twice:
        raise ValueError(f"split names {twice[0]!r} clips of {source.name}, but they are there")
    whole = parts.get("train", np.arange(len(source)))
    if split is None:
        lacking = [name for name in missing if name == "validation" or not parts]
        split = default_split(len(whole), lacking, source.name) if lacking else {"train": 1.0}
    ranges = split_samples(split, len(whole), source.name)
    labels = np.zeros(len(whole), int) if source.several else source.labels[whole]
    order = whole[mixed_order(labels, seed)]
    found = {name: np.sort(order[numbers.start : numbers.stop]) for name, numbers in ranges.items()}
    found = {**parts, **found}
    if validate_on_test and "test" in found:
        found["validation"] = found["test"]
    _require_every_class(source, found.get("train"))
    return found


def _require_every_class(source: ClipSource, training: np.ndarray | None) -> None:
    if training is None:
        return
    own = source.labels[training]
    counts = own.sum(0) if source.several else np.bincount(own, minlength=len(source.classes))
    if (counts == 0).any():
        name = source.classes[int(np.argmin(counts))]
        raise ValueError(
            f"no training clip of {source.name} is of the class {name!r}: give more clips of it, a "
            "larger training split, or leave the class out"
        )
