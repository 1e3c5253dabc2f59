"""Which structures train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from surform.data.atoms_source import AtomsSource
from surform.data.split_sources import default_split
from surform.data.splits import SPLITS, split_samples

__all__ = ["Amount", "SplitBy", "divide_atoms"]

Amount = int | float | Literal["rest"]
SplitBy = Literal["random", "blocks"]


def divide_atoms(
    source: AtomsSource, split: Mapping[str, Amount] | None, by: SplitBy, seed: int
) -> dict[str, np.ndarray]:
    """Numbers of the structures of each split, rising.

    Args:
        split: "train", "validation", "test" -> a count, a fraction, or once "rest"; None: 10 per
            cent for validation, and as many for a test.
        by: "random": a permutation of all, by the seed. "blocks": of every file by itself the first
            train and the last test, as is honest where they follow one another in time.
        seed: of the permutation.

    Raises:
        ValueError: splits that overlap or are empty.
    """
    if by == "blocks":
        parts = []
        for own in source.series():
            ranges = _ranges(split, len(own), source.place(own.start))
            parts.append({n: np.arange(own.start + r.start, own.start + r.stop) for n, r in ranges})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.random.default_rng([seed, len(source)]).permutation(len(source))
    ranges = _ranges(split, len(source), source.name)
    return {name: np.sort(order[own.start : own.stop]) for name, own in ranges}


def _ranges(split: Mapping[str, Amount] | None, count: int, where: str) -> list[tuple[str, range]]:
    if split is None:
        split = default_split(count, ["validation", "test"], where)
    return list(split_samples(_counted(split, count, where), count, where).items())


def _counted(split: Mapping[str, Amount], count: int, where: str) -> dict[str, int | float]:
    """The splits with what "rest" stands for."""
    known = {name: amount for name, amount in split.items() if amount != "rest"}
    left = [name for name in split if name not in known]
    if len(left) > 1:
        raise ValueError(f"split gives the rest to {' and '.join(left)}, but one can have it")
    unknown = sorted(set(split) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}: choose {', '.join(SPLITS)}")
    if "train" not in split:
        raise ValueError(f"split has {', '.join(split) or 'nothing'}, but needs train")
    if not left:
        return known  # type: ignore[return-value]
    (name,) = left
    taken = split_samples(known, count, where) if known else {}  # type: ignore[arg-type]
    rest = count - sum(map(len, taken.values()))
    if rest < 1:
        raise ValueError(f"split leaves nothing for {name}: {where} has {count} structures")
    return {n: rest if n == name else len(taken[n]) for n in SPLITS if n in split}
