"""How long the edges of a mesh are to be: short at details, growing with the distance from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from surform.data.solvers.curves import Curve

__all__ = ["Spacing"]

_SAMPLES = 129
_LEVELS = 4  # sizes are rounded to 2^(1/4), so that a few nearest-neighbour searches find them all


class Spacing:
    """The edge length wanted anywhere in the plane.

    On a curve it is the curve's own size or, where that is less, what lets `across` elements fit
    between it and the next curve that it does not meet; from there it grows with the distance.

    Args:
        curves: of the domain.
        size: the largest edge length anywhere.
        growth: by how much it may grow per unit of length.
        across: elements between curves that are near each other.
        details: places `(k, 2)` with a size of their own, corners where a solution is singular.
    """

    def __init__(
        self,
        curves: Sequence[Curve],
        size: float,
        growth: float,
        across: float,
        details: tuple[np.ndarray, float] | None = None,
    ) -> None:
        self.size, self.growth = size, growth
        parameters = np.linspace(0, 1, _SAMPLES)
        points = np.stack([curve.at(parameters) for curve in curves])
        gaps = _gaps(points)
        sizes = np.array([min(curve.size, size) for curve in curves])[:, None]
        wanted = np.minimum(sizes, gaps / across).ravel()
        places = points.reshape(-1, 2)
        if details is not None:
            places = np.concatenate([places, details[0]])
            wanted = np.concatenate([wanted, np.full(len(details[0]), details[1])])
        level = np.ceil(_LEVELS * np.log2(size / wanted)).astype(int)
        self._searches = [
            (size * 2.0 ** (-rank / _LEVELS), KDTree(places[level == rank]))
            for rank in np.unique(level)
        ]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Edge lengths `(n,)` wanted at `(n, 2)`."""
        wanted = np.full(len(points), self.size)
        for size, tree in self._searches:
            # further away than this the largest size holds anyway
            reach = (self.size - size) / self.growth
            distance, _ = tree.query(points, distance_upper_bound=reach + 1e-12 * self.size)
            wanted = np.minimum(wanted, size + self.growth * distance)
        return wanted


def _gaps(points: np.ndarray) -> np.ndarray:
    """Distance `(c, n)` of each position `(c, n, 2)` to the curves that do not meet its own."""
    curves = len(points)
    ends = points[:, [0, -1]].reshape(-1, 2)
    scale = np.ptp(points.reshape(-1, 2), axis=0).max()
    near = np.linalg.norm(ends[:, None] - ends[None], axis=-1) < 1e-9 * scale
    meet = near.reshape(curves, 2, curves, 2).any((1, 3))
    gaps = np.full(points.shape[:2], np.inf)
    for number in range(curves):
        others = points[~meet[number]].reshape(-1, 2)
        if len(others):
            gaps[number] = KDTree(others).query(points[number])[0]
    return gaps
