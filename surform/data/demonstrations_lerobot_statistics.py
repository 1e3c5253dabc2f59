"""Statistics as LeRobot keeps them: of each episode, and of all of them together."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["image_statistics", "joined_statistics", "numeric_statistics"]

_PICTURES = 32  # of an episode, that statistics of images are taken of


def numeric_statistics(values: np.ndarray) -> dict[str, Any]:
    """Of each number: values (steps, numbers)."""
    wide = values.astype(np.float64)
    found = {"min": wide.min(0), "max": wide.max(0), "mean": wide.mean(0), "std": wide.std(0)}
    return {name: each.tolist() for name, each in found.items()} | {"count": [len(values)]}


def image_statistics(images: np.ndarray) -> dict[str, Any]:
    """Of each channel, from 0 to 1, shaped (3, 1, 1), over some of the pictures."""
    some = images[np.unique(np.linspace(0, len(images) - 1, _PICTURES).astype(int))]
    found = numeric_statistics(some.reshape(-1, 3) / 255)
    shaped = {n: [[[v]] for v in found[n]] for n in ("min", "max", "mean", "std")}
    return shaped | {"count": [len(some)]}


def joined_statistics(parts: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Statistics of all episodes from those of each."""
    found: dict[str, dict[str, Any]] = {}
    for feature in parts[0]:
        own = {
            what: np.array([part[feature][what] for part in parts]) for what in parts[0][feature]
        }
        count = own["count"].reshape(-1, *[1] * (own["mean"].ndim - 1))
        total = count.sum()
        mean = (own["mean"] * count).sum(0) / total
        spread = ((own["std"] ** 2 + (own["mean"] - mean) ** 2) * count).sum(0) / total
        found[feature] = {
            "min": own["min"].min(0).tolist(),
            "max": own["max"].max(0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(spread).tolist(),
            "count": [int(total)],
        }
    return found
