"""Random triangular meshes of plane domains with curved boundaries and inner interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay, KDTree

from surform.data.solvers.curves import Curve, Region
from surform.data.solvers.spacing import Spacing

__all__ = ["Triangulation", "smallest_angles", "triangulate"]

_ATTEMPTS = 20
_SMOOTHINGS = 12
_SMALLEST_ANGLE = 12.0  # degrees; the worst of a mesh is 15 to 30
_DART = 0.78  # least distance of darts in edge lengths; gaps between them then average to one
_CLEARANCE = 0.62  # least distance from the boundary in edge lengths
_CANDIDATES = 10.0  # random places per square of the wanted edge length


@dataclass(frozen=True, eq=False)
class Triangulation:
    """A mesh whose edges follow the curves of its domain.

    Args:
        vertices: `(n, 2)`.
        triangles: `(m, 3)` vertex numbers.
        regions: `(m,)` the number of the region of each triangle.
        edges: `(k, 2)` vertex numbers of the edges along curves.
        middles: `(k, 2)` where the curve is halfway along each of them.
        names: `(k,)` the name of the curve of each of them.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    regions: np.ndarray
    edges: np.ndarray
    middles: np.ndarray
    names: np.ndarray


def triangulate(
    curves: Sequence[Curve],
    region: Region,
    size: float,
    rng: np.random.Generator,
    growth: float = 0.25,
    across: float = 2.0,
    details: tuple[np.ndarray, float] | None = None,
) -> Triangulation:
    """Mesh the domain that `curves` bound and divide.

    Vertices on the curves come first; inside, random darts that keep their distance are smoothed
    towards the centroids of their patches (Chen, 2004) and joined by Delaunay's rule. Every edge
    along a curve then is one of the mesh's, because no vertex comes closer than half an edge.

    Args:
        curves: boundaries and interfaces; arcs that meet share their end points.
        region: tells the regions that the curves part.
        size: the largest edge length anywhere.
        rng: source of the places.
        growth, across, details: see `Spacing`.

    Raises:
        ValueError: no good mesh was found: the details are too fine for the curves' sizes.
    """
    spacing = Spacing(curves, size, growth, across, details)
    vertices, edges, middles, names = _boundary(curves, spacing)
    fixed = len(vertices)
    for _ in range(_ATTEMPTS):
        darts = _darts(vertices, edges, region, spacing, rng)
        points = _smoothed(np.concatenate([vertices, darts]), fixed, region, spacing)
        triangles, regions = _join(points, region)
        good = smallest_angles(points[triangles]).min(initial=180.0) > _SMALLEST_ANGLE
        if good and _holds(triangles, edges, len(points)):
            return Triangulation(points, triangles, regions, edges, middles, names)
    raise ValueError(
        f"no mesh with good angles was found in {_ATTEMPTS} attempts at size {size}: choose a "
        "smaller size"
    )


def smallest_angles(corners: np.ndarray) -> np.ndarray:
    """The smallest angle [degrees] of each triangle `(m, 3, 2)`."""
    sides = np.roll(corners, -1, axis=1) - corners
    lengths = np.linalg.norm(sides, axis=2)
    cosine = -(sides * np.roll(sides, -1, axis=1)).sum(2) / (lengths * np.roll(lengths, -1, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).min(1)


def _boundary(
    curves: Sequence[Curve], spacing: Spacing
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut the curves into edges of the wanted lengths: vertices, edges, middles, names."""
    s = np.linspace(0, 1, 513)
    dense = np.stack([curve.at(s) for curve in curves])
    steps = np.linalg.norm(np.diff(dense, axis=1), axis=2)
    between = (dense[:, 1:] + dense[:, :-1]) / 2
    wanted = spacing(between.reshape(-1, 2)).reshape(steps.shape)
    places, middles, names, count = [], [], [], []
    for curve, share in zip(curves, steps / wanted, strict=True):
        number = np.concatenate([[0.0], np.cumsum(share)])  # of edges up to each s
        pieces = max(int(np.ceil(number[-1] - 1e-9)), 3 if curve.closed() else 1)
        cuts = np.interp(np.linspace(0, number[-1], pieces + 1), number, s)
        places.append(curve.at(cuts))
        middles.append(curve.at((cuts[1:] + cuts[:-1]) / 2))
        names += [curve.name] * pieces
        count.append(pieces)
    points = np.concatenate(places)
    first = np.cumsum([0, *(pieces + 1 for pieces in count[:-1])])
    edges = np.concatenate(
        [start + np.arange(n)[:, None] + [0, 1] for start, n in zip(first, count, strict=True)]
    )
    unique, index = _merged(points)
    return unique, index[edges], np.concatenate(middles), np.array(names)


def _merged(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points without repetitions, and the number of each of the old ones among them."""
    scale = np.ptp(points, axis=0).max()
    _, first, index = np.unique(
        np.round(points / (1e-9 * scale)), axis=0, return_index=True, return_inverse=True
    )
    return points[first], index.ravel()


def _darts(
    vertices: np.ndarray,
    edges: np.ndarray,
    region: Region,
    spacing: Spacing,
    rng: np.random.Generator,
) -> np.ndarray:
    """Random places inside, as many as fit without coming too close to each other or an edge."""
    places = _candidates(vertices.min(0), vertices.max(0), spacing, rng)
    places = places[region(places) >= 0]
    wanted = spacing(places)
    parts = np.linspace(0, 1, 5)[1:-1, None, None]
    along = (1 - parts) * vertices[edges[:, 0]] + parts * vertices[edges[:, 1]]
    walls = KDTree(np.concatenate([vertices, along.reshape(-1, 2)]))
    clear = walls.query(places)[0] > _CLEARANCE * wanted
    places, wanted = places[clear], wanted[clear]
    near = KDTree(places).query_ball_point(places, _DART * wanted) if len(places) else []
    free, kept = np.ones(len(places), bool), []
    for number in range(len(places)):  # they come in random order
        if free[number]:
            kept.append(number)
            free[near[number]] = False
    return places[kept]


def _candidates(
    low: np.ndarray, high: np.ndarray, spacing: Spacing, rng: np.random.Generator
) -> np.ndarray:
    """Random places `(n, 2)` in a box, in random order, dense where edges are to be short."""
    side = float((high - low).max())
    corners, places = np.array([low]), []
    while len(corners):
        wanted = spacing(corners + side / 2)
        fine = side <= wanted
        count = _CANDIDATES * (side / wanted[fine]) ** 2 + rng.random(fine.sum())
        cells = np.repeat(corners[fine], count.astype(int), axis=0)
        places.append(cells + side * rng.random(cells.shape))
        side /= 2
        shifts = side * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
        corners = (corners[~fine, None] + shifts).reshape(-1, 2)
        corners = corners[(corners < high).all(1)]
    return rng.permutation(np.concatenate(places))


def _smoothed(points: np.ndarray, fixed: int, region: Region, spacing: Spacing) -> np.ndarray:
    """Move the points from `fixed` on towards the weighted centroids of their patches."""
    for _ in range(_SMOOTHINGS):
        triangles, _ = _join(points, region)
        corners = points[triangles]
        centroids = corners.mean(1)
        # density 1/h^4 makes the distances follow h in two dimensions (Du and Wang, 2003)
        weight = _areas(corners) / spacing(centroids) ** 4
        sums = [
            np.bincount(triangles.ravel(), np.repeat(values, 3), len(points))
            for values in (weight, *(weight * centroids.T))
        ]
        inner = slice(fixed, None)
        moved = points.copy()
        moved[inner] = (np.array(sums[1:]) / np.where(sums[0] > 0, sums[0], 1)).T[inner]
        points = moved
    return points


def _join(points: np.ndarray, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Delaunay triangles inside the domain `(m, 3)`, and their regions `(m,)`."""
    triangles = Delaunay(points).simplices
    corners = points[triangles]
    solid = _areas(corners) > 1e-10 * np.ptp(points, axis=0).max() ** 2
    regions = np.asarray(region(corners.mean(1)))
    keep = solid & (regions >= 0)
    return triangles[keep], regions[keep]


def _areas(corners: np.ndarray) -> np.ndarray:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def _holds(triangles: np.ndarray, edges: np.ndarray, points: int) -> bool:
    """Whether every edge is a side of a triangle, and every point a corner."""
    sides = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    wanted = np.sort(edges, axis=1)
    there = np.isin(wanted @ [points, 1], sides @ [points, 1]).all()
    return bool(there) and len(np.unique(triangles)) == points
