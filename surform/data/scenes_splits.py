"""Which labelled pixels train, validate and test: windows that share no pixel, or random pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from surform.data.images_splits import mixed_order
from surform.data.scenes_cube import margins
from surform.data.splits import SPLITS, split_samples

__all__ = ["DIVISIONS", "divide", "pure"]

DIVISIONS = ("disjoint", "overlapping")
_TRIES = 48  # random orders of the blocks, of which the best is taken
# what it costs when a class has no pixel in a split, beside shares that are off
_LOST = {"train": 1e4, "test": 1e2, "validation": 1e1}


def divide(
    labels: np.ndarray,
    window: int,
    division: str,
    split: Mapping[str, float],
    block: int,
    seed: int,
    where: str,
) -> dict[str, np.ndarray]:
    """(n, 2) rows and columns of the pixels of each split.

    "disjoint": the scene is cut into square blocks, each of which belongs to one split, such that
    the classes come near to their shares; pixels whose window reaches into another split's block
    belong to none. "overlapping": random pixels of each class, as published; the windows of
    neighbours share pixels.

    Args:
        labels: (rows, columns), -1 where unlabelled, classes from 0.
        split: the share of each split.
        block: side of the blocks [pixels].

    Raises:
        ValueError: shares that are none, or a class without a training pixel.
    """
    shares = _shares(split, where)
    if division == "overlapping":
        found = _random(labels, shares, seed, where)
    else:
        found = _blocks(labels, window, shares, block, seed)
    _require_pixels(labels, found, division, where)
    return found


def pure(parts: np.ndarray, window: int) -> np.ndarray:
    """Whether all of each pixel's window, as far as it lies in the scene, is of the pixel's part.

    Args:
        parts: (rows, columns) numbers of parts.
    """
    low, high = parts, parts
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = margins(window)
        low, high = (
            of(sliding_window_view(np.pad(x, width, mode="edge"), window, axis=axis), -1)  # type: ignore[call-overload]
            for of, x in ((np.min, low), (np.max, high))
        )
    return (low == parts) & (high == parts)


def _shares(split: Mapping[str, float], where: str) -> dict[str, float]:
    for name, share in split.items():
        if name in SPLITS and not (isinstance(share, float) and 0 < share < 1):
            raise ValueError(
                f"split {name}={share!r}: give the share of the labelled pixels, 0 to 1"
            )
    split_samples(split, 10**9, where)  # names, and whether they fit into the whole
    return {name: float(split[name]) for name in SPLITS if name in split}


def _random(
    labels: np.ndarray, shares: dict[str, float], seed: int, where: str
) -> dict[str, np.ndarray]:
    pixels = np.argwhere(labels >= 0)
    order = mixed_order(labels[labels >= 0], seed)
    ranges = split_samples(shares, len(pixels), where)
    return {n: pixels[np.sort(order[span.start : span.stop])] for n, span in ranges.items()}


def _blocks(
    labels: np.ndarray, window: int, shares: dict[str, float], block: int, seed: int
) -> dict[str, np.ndarray]:
    rows, columns = labels.shape
    across = -(-columns // block)
    number = (np.arange(rows) // block)[:, None] * across + np.arange(columns) // block
    counts = _counts(labels, number)
    rest = 1 - sum(shares.values())
    wanted = np.array([*shares.values(), *([rest] if rest > 0.01 else [])])
    generator = np.random.default_rng([seed, rows, columns])
    best: tuple[float, np.ndarray] | None = None
    for _ in range(_TRIES):
        part = _greedy(counts, wanted, generator)[number]
        part = np.where((labels >= 0) & pure(part, window), part, -1)
        cost = _cost(labels, part, shares)
        if best is None or cost < best[0]:
            best = cost, part
    assert best is not None
    return {name: np.argwhere(best[1] == place) for place, name in enumerate(shares)}


def _counts(labels: np.ndarray, number: np.ndarray) -> np.ndarray:
    """(blocks, classes) labelled pixels of each."""
    known = labels >= 0
    counts = np.zeros((number.max() + 1, labels.max() + 1))
    np.add.at(counts, (number[known], labels[known]), 1)
    return counts


def _greedy(counts: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The part of each block: one after the other goes where its classes lack most."""
    totals = np.maximum(counts.sum(0), 1)
    weight = counts / totals
    got = np.zeros((len(wanted), counts.shape[1]))
    part = np.zeros(len(counts), dtype=np.int64)
    for place in generator.permutation(len(counts)):
        lack = 1 - got / (wanted[:, None] * totals)
        part[place] = int(np.argmax(lack @ weight[place] + 1e-9 * wanted))
        got[part[place]] += counts[place]
    return part


def _cost(labels: np.ndarray, part: np.ndarray, shares: dict[str, float]) -> float:
    present = np.bincount(labels[labels >= 0]) > 0
    left = np.bincount(labels[part >= 0], minlength=len(present)) / sum(shares.values())
    cost = 0.0
    for place, (name, share) in enumerate(shares.items()):
        own = np.bincount(labels[part == place], minlength=len(present))
        cost += _LOST[name] * float(((own == 0) & present).sum())
        cost += float(np.abs(own[present] / np.maximum(left[present], 1) - share).mean())
    return cost - 0.5 * float((part >= 0).sum()) / max(1, int((labels >= 0).sum()))


def _require_pixels(
    labels: np.ndarray, found: dict[str, np.ndarray], division: str, where: str
) -> None:
    advice = (
        "take a smaller data.block or window, other shares or another split_seed, or set "
        "data.division to overlapping"
        if division == "disjoint"
        else "give it a larger share"
    )
    for name, pixels in found.items():
        if not len(pixels):
            raise ValueError(f"no pixel of {where} is left for {name}: {advice}")
    rows, columns = found.get("train", np.argwhere(labels >= 0)).T
    lost = sorted(
        set(np.unique(labels[labels >= 0]).tolist()) - set(labels[rows, columns].tolist())
    )
    if lost:
        raise ValueError(f"no training pixel of {where} has the class {lost[0] + 1}: {advice}")
