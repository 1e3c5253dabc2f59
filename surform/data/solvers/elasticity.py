"""A clamped elastic cell with a random hole, pulled at its top."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.curves import Curve, Region, polygon
from surform.data.solvers.mesh_samples import (
    along,
    dimensionless,
    mesh_sample,
    require_mesh_extra,
)

__all__ = ["POINTS", "Hole", "cell", "elasticity", "outside"]

_SIDES = ("bottom", "right", "top", "left")
_MODES = 6
_CLAMPED = np.array([[0.0, 0.0], [1.0, 0.0]])  # corners of infinite stress

POINTS = dimensionless(
    PointsDescription(
        coordinates=("x", "y"),
        targets=("stress", "u_x", "u_y"),
        inputs={"hole": ("x", "y")},
        weighted=("points", "hole"),
    )
)


def elasticity(
    rng: np.random.Generator,
    *,
    size: float = 0.04,
    hole_size: float = 0.012,
    poisson: float = 0.3,
    state: Literal["plane_stress", "plane_strain"] = "plane_stress",
) -> PointSample:
    """Von Mises stress and displacement of a unit cell with a hole: -div sigma = 0.

    After the set "Elasticity" of Geo-FNO (Li et al., arXiv 2207.05209), with its holes but small
    deformations of a linear material: clamped below, pulled upwards with a traction of 1 on the
    top; Young's modulus is 1. Stresses therefore are in units of the traction, displacements in
    units of traction / modulus. Quadratic elements on a random mesh of curved triangles, whose
    vertices are the points, but for the two clamped corners: the stress is infinite there.

    Args:
        size: longest edge of the mesh.
        hole_size: longest edge on the hole.
        poisson: Poisson's ratio.
        state: of stress or strain.
    """
    check_positive(size=size, hole_size=hole_size)
    check_at_least(0, poisson=poisson)
    if poisson > 0.49:
        raise ValueError(f"poisson is {poisson}, but it must be at most 0.49")
    require_mesh_extra("elasticity")
    from surform.data.solvers.mesh_elasticity import solve_elasticity, stress, von_mises
    from surform.data.solvers.quadratic_mesh import QuadraticMesh
    from surform.data.solvers.triangulate import triangulate

    hole = Hole(rng)
    curves = cell(hole, size, hole_size)
    mesh = QuadraticMesh(
        triangulate(curves, outside(hole), size, rng, details=(_CLAMPED, hole_size / 2))
    )
    moved = solve_elasticity(mesh, poisson, state, {"bottom": np.zeros_like}, {"top": _upwards})
    equivalent = von_mises(stress(mesh, moved, poisson, state))
    inputs = {"hole": along(curves[-1:])}
    return mesh_sample(mesh, [equivalent, *moved.T], [], inputs, rng, singular=_CLAMPED)


class Hole:
    """A random star-shaped hole around the middle of the cell.

    Its radius is 0.2 + 0.2 / (1 + exp(f)) with f ~ N(0, 16 (9 - d^2/dtheta^2)^-1), as in Geo-FNO;
    f has its first six harmonics only, so that the hole is smooth.

    Args:
        rng: source of f.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        mode = np.arange(_MODES + 1)
        deviation = 4 / np.sqrt(9 + mode**2) / math.sqrt(math.pi)
        deviation[0] /= math.sqrt(2)
        self._wave = deviation[:, None] * rng.standard_normal((_MODES + 1, 2))

    def radius(self, angle: np.ndarray) -> np.ndarray:
        """Radius `(n,)` at angles `(n,)`."""
        phase = angle[:, None] * np.arange(_MODES + 1)
        f = np.cos(phase) @ self._wave[:, 0] + np.sin(phase) @ self._wave[:, 1]
        return 0.2 + 0.2 / (1 + np.exp(f))


def cell(hole: Hole, size: float, hole_size: float) -> list[Curve]:
    """The sides of the cell, and the hole."""

    def at(s: np.ndarray) -> np.ndarray:
        angle = 2 * math.pi * s
        way = hole.radius(angle)[:, None]
        return 0.5 + way * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    sides = polygon("", [(0, 0), (1, 0), (1, 1), (0, 1)], size)
    named = [Curve(name, side.at, size) for name, side in zip(_SIDES, sides, strict=True)]
    return [*named, Curve("hole", at, hole_size)]


def outside(hole: Hole) -> Region:
    """The region of the material: 0, and -1 in the hole."""

    def region(points: np.ndarray) -> np.ndarray:
        x, y = (points - 0.5).T
        return np.where(np.hypot(x, y) < hole.radius(np.arctan2(y, x)), -1, 0)

    return region


def _upwards(points: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.array([0.0, 1.0]), points.shape)
