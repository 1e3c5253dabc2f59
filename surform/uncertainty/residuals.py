"""Errors of many windows and their order statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["Residuals", "check_levels", "order_statistics", "windows_needed"]


class Residuals:
    """Collects signed errors, position by position, within a bound on memory.

    Args:
        most: numbers held at once; beyond it every other window is dropped, again and again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.windows = 0
        self._parts: list[Tensor] = []
        self._every, self._seen = 1, 0

    def add(self, error: Tensor, pooled: Sequence[int]) -> None:
        """Take the errors `(B, ...)` of a batch; positions along the axes `pooled` are alike."""
        first = -self._seen % self._every
        self._seen += len(error)
        error = error[first :: self._every]
        if not len(error):
            return
        kept = [axis for axis in range(1, error.ndim) if axis not in pooled]
        order = [0, *pooled, *kept]
        shape = [1 if axis in pooled else error.shape[axis] for axis in range(1, error.ndim)]
        rows = error.permute(order).reshape(-1, *shape)
        self.windows += len(error)
        self._parts.append(rows.float().cpu())
        while sum(part.numel() for part in self._parts) > self.most and self.windows > 1:
            self._halve(len(rows) // len(error))

    def joined(self) -> tuple[int, Tensor]:
        """(windows, errors `(n, ...)`); ValueError when there are none or one is not finite."""
        if not self._parts:
            raise ValueError("there are no windows to calibrate on")
        errors = torch.cat(self._parts)
        if not bool(torch.isfinite(errors).all()):
            raise ValueError("the model's errors on the calibration data are not all finite")
        return self.windows, errors

    def _halve(self, per_window: int) -> None:
        errors = torch.cat(self._parts).unflatten(0, (self.windows, per_window))[::2]
        self.windows, self._every = len(errors), 2 * self._every
        self._parts = [errors.flatten(0, 1).clone()]


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Increasing levels between 0 and 1, symmetric about a half; ValueError otherwise."""
    levels = tuple(float(level) for level in levels)
    pairs = zip(levels, levels[::-1], strict=True)
    if (
        not levels
        or any(not 0 < level < 1 for level in levels)
        or any(b <= a for a, b in pairwise(levels))
        or any(abs(a + b - 1) > 1e-9 for a, b in pairs)
    ):
        raise ValueError(
            f"levels must increase, lie between 0 and 1 and be symmetric about 0.5, got {levels}"
        )
    return levels


def windows_needed(levels: Sequence[float]) -> int:
    """The fewest windows that have an order statistic for the outermost level."""
    return math.ceil(1 / levels[0] - 1e-9) - 1


def order_statistics(errors: Tensor, levels: Sequence[float]) -> Tensor:
    """`(levels, ...)`: conformal quantiles over the first axis of `(n, ...)`.

    Below a half the floor(level (n + 1))-th smallest, above it the ceil(level (n + 1))-th, so
    that the truth lies outside with at most that probability; the median in the middle.
    """
    count = len(errors)
    ordered = errors.sort(0).values
    found = []
    for level in levels:
        place = level * (count + 1)
        if abs(level - 0.5) < 1e-12:
            low, high = math.floor(place), math.ceil(place)
        else:
            # rounding must not turn 0.9 * 10 = 9.000000000000002 into the tenth
            low = high = math.floor(place + 1e-9) if level < 0.5 else math.ceil(place - 1e-9)
        low, high = (min(max(k, 1), count) - 1 for k in (low, high))
        found.append((ordered[low] + ordered[high]) / 2)
    return torch.stack(found)
