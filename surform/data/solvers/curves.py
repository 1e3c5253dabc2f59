"""Curves in the plane: what the boundaries and interfaces of mesh solvers are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Curve", "Region", "circle", "evenly_along", "line", "polygon"]

# The number of the region `(n,)` that places `(n, 2)` lie in; negative outside of the domain.
Region = Callable[[np.ndarray], np.ndarray]

_DENSE = 1025  # positions that lengths are measured with


@dataclass(frozen=True)
class Curve:
    """A smooth arc or a closed loop; corners are where arcs meet.

    Args:
        name: of the part of the boundary that it belongs to, shared by all arcs of that part.
        at: positions `(n, 2)` for parameters `(n,)` in [0, 1].
        size: the longest edge of an element on it.
    """

    name: str
    at: Callable[[np.ndarray], np.ndarray]
    size: float

    def ends(self) -> np.ndarray:
        """First and last position, `(2, 2)`."""
        return self.at(np.array([0.0, 1.0]))

    def closed(self) -> bool:
        """Whether it ends where it began."""
        first, last = self.ends()
        return bool(np.allclose(first, last, rtol=0, atol=1e-9 * self.length()))

    def length(self) -> float:
        """Length of the arc."""
        steps = np.diff(self.at(np.linspace(0, 1, _DENSE)), axis=0)
        return float(np.linalg.norm(steps, axis=1).sum())


def line(name: str, start: Sequence[float], end: Sequence[float], size: float) -> Curve:
    """The straight way from `start` to `end`."""
    a, b = np.asarray(start, float), np.asarray(end, float)

    def at(s: np.ndarray) -> np.ndarray:
        # Both ends are met exactly: neighbours share their corners, sides along an axis are flat.
        return np.where(s[:, None] == 1, b, a + s[:, None] * (b - a))

    return Curve(name, at, size)


def polygon(name: str, corners: Sequence[Sequence[float]], size: float) -> list[Curve]:
    """The sides of a polygon."""
    following = [*corners[1:], corners[0]]
    return [line(name, a, b, size) for a, b in zip(corners, following, strict=True)]


def circle(name: str, centre: Sequence[float], radius: float, size: float) -> Curve:
    """A full circle."""

    def at(s: np.ndarray) -> np.ndarray:
        angle = 2 * math.pi * s
        return np.asarray(centre) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return Curve(name, at, size)


def evenly_along(curves: Sequence[Curve], counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Points at equal distances along each curve, and the length that each stands for.

    They are the middles of so many pieces of equal length, so that the lengths are the weights of
    the midpoint rule.

    Returns:
        Positions `(sum of counts, 2)` and lengths `(sum of counts,)`.
    """
    points, weights = [], []
    for curve, count in zip(curves, counts, strict=True):
        s = np.linspace(0, 1, _DENSE)
        steps = np.linalg.norm(np.diff(curve.at(s), axis=0), axis=1)
        way = np.concatenate([[0.0], np.cumsum(steps)])
        middles = (np.arange(count) + 0.5) / count * way[-1]
        points.append(curve.at(np.interp(middles, way, s)))
        weights.append(np.full(count, way[-1] / count))
    return np.concatenate(points), np.concatenate(weights)
