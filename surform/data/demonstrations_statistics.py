"""Limits, means and deviations of what was observed and done, over training episodes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from surform.data.normalizers import Normalizer

__all__ = ["SCALES", "Scale", "measure", "normalizer_of"]

Scale = Literal["limits", "gaussian", "none"]
SCALES = ("limits", "gaussian", "none")
_LEAST_RANGE = 1e-4  # what varies less is moved, but not scaled

Statistics = dict[str, list[float]]


def measure(parts: Iterable[Float[np.ndarray, "n w"]]) -> Statistics:
    """ "min", "max", "mean" and "std" of each number, in one pass that holds one part at a time."""
    low = high = mean = spread = np.zeros(0)
    count = 0
    for part in parts:
        values = np.asarray(part, np.float64)
        own = values.mean(0)
        if not count:
            low, high, mean = values.min(0), values.max(0), own
            spread = ((values - own) ** 2).sum(0)
        else:
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
            off, total = own - mean, count + len(values)
            spread = spread + ((values - own) ** 2).sum(0) + off**2 * count * len(values) / total
            mean = mean + off * len(values) / total
        count += len(values)
    deviation = np.sqrt(spread / max(count, 1))
    found = {"min": low, "max": high, "mean": mean, "std": deviation}
    return {name: values.tolist() for name, values in found.items()}


def normalizer_of(statistics: Mapping[str, list[float]], scale: str) -> Normalizer:
    """What brings numbers to their scale.

    Args:
        scale: "limits": into [-1, 1]; "gaussian": mean 0, deviation 1; "none": as they are.
    """
    low, high, mean, std = (
        torch.tensor(statistics[name], dtype=torch.float64)
        for name in ("min", "max", "mean", "std")
    )
    if scale == "none" or not len(low):
        return Normalizer(torch.zeros(()), torch.ones(()))
    constant = high - low < _LEAST_RANGE
    if scale == "gaussian":
        return Normalizer(mean, torch.where(constant, 1.0, std))
    middle, half = (low + high) / 2, (high - low) / 2
    return Normalizer(torch.where(constant, low, middle), torch.where(constant, 1.0, half))
