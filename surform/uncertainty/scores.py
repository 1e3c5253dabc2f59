"""How good quantiles and intervals are: proper scores, coverage and width, elementwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["covered", "interval_score", "pinball", "quantile_crps"]


def pinball(quantiles: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """`(levels, ...)`: max(q (y - x), (q - 1) (y - x)) for the level q and its quantile x."""
    level = target.new_tensor(levels).view(-1, *[1] * target.ndim)
    error = target - quantiles
    return torch.maximum(level * error, (level - 1) * error)


def quantile_crps(quantiles: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """Continuous ranked probability score, 2 times the integral of the pinball loss over levels.

    By the trapezoidal rule over the given levels; the loss falls to zero towards levels 0 and 1.
    In the units of the target; for one quantile, the median, half the absolute error.
    (Gneiting, Raftery 2007, doi 10.1198/016214506000001437.)

    Args:
        quantiles: `(levels, ...)`; target: `(...)`; levels: increasing.
    """
    loss = pinball(quantiles, target, levels)
    ends = [0.0, *levels, 1.0]
    widths = [(after - before) for before, after in zip(ends[:-2], ends[2:], strict=True)]
    weight = target.new_tensor(widths).view(-1, *[1] * target.ndim)
    return (weight * loss).sum(0)


def covered(lower: Tensor, upper: Tensor, target: Tensor) -> Tensor:
    """1 where the interval holds the target, 0 elsewhere."""
    return ((lower <= target) & (target <= upper)).to(target.dtype)


def interval_score(lower: Tensor, upper: Tensor, target: Tensor, coverage: float) -> Tensor:
    """Width plus 2 / (1 - coverage) times the distance to the interval, in the target's units.

    Winkler (1972); proper for the central interval of this coverage.
    """
    outside = (lower - target).clamp(min=0) + (target - upper).clamp(min=0)
    return upper - lower + 2 / (1 - coverage) * outside
