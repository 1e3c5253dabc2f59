"""Steady flow through a channel with four round obstacles."""

from __future__ import annotations

import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.curves import Curve, Region, circle, polygon
from surform.data.solvers.mesh_samples import (
    along,
    dimensionless,
    mesh_sample,
    require_mesh_extra,
)

__all__ = ["POINTS", "channel", "inflow", "inside", "ns2d_c", "place_circles"]

_SIDE = 8.0
_CIRCLES = 4
_SIDES = ("bottom", "right", "top", "left")

POINTS = dimensionless(
    PointsDescription(
        coordinates=("x", "y"),
        targets=("u", "v", "p"),
        parameters=tuple(f"{what}{i + 1}" for i in range(_CIRCLES) for what in ("cx", "cy", "r")),
        inputs={"boundary": ("x", "y")},
        weighted=("points", "boundary"),
    )
)


def ns2d_c(
    rng: np.random.Generator,
    *,
    size: float = 0.25,
    radius_min: float = 0.3,
    radius_max: float = 0.8,
    gap: float = 0.3,
    viscosity: float = 1.0,
) -> PointSample:
    """Velocity u, v and pressure p of steady flow past 4 circles: incompressible Navier-Stokes.

    The setting "NS2d-c" of GNOT (Hao et al., arXiv 2302.14376): (u . grad) u = -grad p +
    viscosity Lap u, div u = 0 on [0, 8]^2 without the circles; u = y (8 - y) / 16 on the left,
    no slip on the circles, below and above, p = 0 on the right. Taylor-Hood elements on a random
    mesh of curved triangles, whose vertices are the points.

    Args:
        size: longest edge of the mesh; it is shorter at the circles and between them.
        radius_min: smallest radius.
        radius_max: largest radius.
        gap: least distance of the circles from each other and from the sides.
        viscosity: of a fluid of density 1.
    """
    check_positive(size=size, radius_min=radius_min, gap=gap, viscosity=viscosity)
    check_at_least(radius_min, radius_max=radius_max)
    require_mesh_extra("ns2d-c")
    from surform.data.solvers.mesh_flow import solve_flow
    from surform.data.solvers.quadratic_mesh import QuadraticMesh
    from surform.data.solvers.triangulate import triangulate

    circles = place_circles(rng, radius_min, radius_max, gap)
    curves = channel(circles, size)
    mesh = QuadraticMesh(triangulate(curves, inside(circles), size, rng))
    still = dict.fromkeys(("bottom", "top", "circles"), np.zeros_like)
    flow = solve_flow(mesh, viscosity, {"left": inflow, **still})
    targets = [*flow.velocity.T, flow.pressure]
    return mesh_sample(mesh, targets, circles.ravel(), {"boundary": along(curves)}, rng)


def place_circles(
    rng: np.random.Generator, radius_min: float, radius_max: float, gap: float
) -> np.ndarray:
    """Centres and radii `(4, 3)` of circles that keep a distance of `gap`."""
    for _ in range(1000):
        radii = rng.uniform(radius_min, radius_max, _CIRCLES)
        low = radii + gap
        if _SIDE - 2 * low.max() <= 0:
            continue
        centres = rng.uniform(low[:, None], _SIDE - low[:, None], (_CIRCLES, 2))
        apart = np.linalg.norm(centres[:, None] - centres, axis=2) - radii[:, None] - radii
        if apart[np.triu_indices(_CIRCLES, 1)].min() >= gap:
            return np.concatenate([centres, radii[:, None]], axis=1)
    raise ValueError(
        f"4 circles with radii from {radius_min} to {radius_max} and gaps of {gap} hardly fit "
        f"into [0, 8]^2: choose smaller ones"
    )


def channel(circles: np.ndarray, size: float) -> list[Curve]:
    """The sides of the channel, and the circles."""
    corners = [(0, 0), (_SIDE, 0), (_SIDE, _SIDE), (0, _SIDE)]
    sides = polygon("", corners, size)
    curves = [Curve(name, side.at, size) for name, side in zip(_SIDES, sides, strict=True)]
    return curves + [circle("circles", (x, y), r, min(size, r) / 2) for x, y, r in circles]


def inside(circles: np.ndarray) -> Region:
    """The region of the fluid: 0, and -1 in the circles."""

    def region(points: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(points[:, None] - circles[:, :2], axis=2)
        return np.where((distance < circles[:, 2]).any(1), -1, 0)

    return region


def inflow(points: np.ndarray) -> np.ndarray:
    """The velocity on the left side."""
    y = points[:, 1]
    return np.stack([y * (_SIDE - y) / 16, np.zeros_like(y)], axis=1)
