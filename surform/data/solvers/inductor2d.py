"""Magnetostatics of an inductor: a coil on the middle limb of a core with an air gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.curves import Curve, Region, polygon
from surform.data.solvers.mesh_samples import along, mesh_sample, require_mesh_extra

if TYPE_CHECKING:
    from surform.data.solvers.quadratic_mesh import QuadraticMesh

__all__ = [
    "AIR",
    "COIL_LEFT",
    "COIL_RIGHT",
    "CORE",
    "POINTS",
    "Inductor",
    "draw_inductor",
    "inductor2d",
    "inductor_curves",
    "inductor_mesh",
    "inductor_regions",
    "solve_inductor",
]

_BOX = 130.0  # half the side of the air box [mm]
_GROWTH = 0.35  # of edges, per length
_SPACING = 2.0  # of the points of input functions [mm]
_MU_0 = 4e-7 * math.pi  # [T m/A]
CORE, COIL_RIGHT, COIL_LEFT, AIR = range(4)

POINTS = PointsDescription(
    coordinates=("x", "y"),
    targets=("A_z", "B_x", "B_y"),
    parameters=(
        "limb",
        "window_width",
        "window_height",
        "gap",
        "gap_height",
        "current",
        "permeability",
    ),
    inputs={"core": ("x", "y"), "coils": ("x", "y", "current_density")},
    units={
        "x": "mm",
        "y": "mm",
        "A_z": "Wb m-1",
        "B_x": "T",
        "B_y": "T",
        "limb": "mm",
        "window_width": "mm",
        "window_height": "mm",
        "gap": "mm",
        "gap_height": "mm",
        "current": "A",
        "permeability": "1",
        **dict.fromkeys(("core_x", "core_y", "coils_x", "coils_y"), "mm"),
        "coils_current_density": "A mm-2",
    },
    weighted=("points", "core", "coils"),
)


@dataclass(frozen=True)
class Inductor:
    """The cross-section of an inductor, centred in its air box; lengths in mm.

    Args:
        limb: width of the middle limb, twice that of the rest of the core.
        window_width: width of the two windows.
        window_height: their height.
        gap: height of the air gap in the middle limb.
        gap_height: y of its middle.
        current: ampere-turns of the coil, out of the plane on the right of the limb [A].
        permeability: of the core, relative to that of vacuum.
    """

    limb: float
    window_width: float
    window_height: float
    gap: float
    gap_height: float
    current: float
    permeability: float

    @property
    def coil(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of the right half of the coil."""
        space = 0.15 * self.window_width
        inner, half = self.limb / 2, self.window_height / 2
        return inner + space, space - half, inner + self.window_width - space, half - space

    @property
    def current_density(self) -> float:
        """On the right of the limb [A/mm^2]."""
        left, bottom, right, top = self.coil
        return self.current / ((right - left) * (top - bottom))


def inductor2d(
    rng: np.random.Generator,
    *,
    size: float = 25.0,
    part_size: float = 4.5,
    permeability_min: float = 50.0,
    permeability_max: float = 1000.0,
    current: float = 500.0,
) -> PointSample:
    """Vector potential A_z and flux density B of an inductor: -div(grad A_z / mu) = J.

    After the set "Inductor2d" of GNOT (Hao et al., arXiv 2302.14376): a core of three limbs with
    an air gap and a coil around the middle one, in a box of air of +-130 mm; linear magnetostatics,
    A_z = 0 on the box. Quadratic elements on a random mesh that follows the parts, whose vertices
    are the points, but for the corners of the core: B is infinite there. On the rest of its surface
    B is the limit from inside it.

    Args:
        size: longest edge of the mesh [mm].
        part_size: longest edge on the core and the coil [mm].
        permeability_min: smallest permeability of the core, relative to that of vacuum.
        permeability_max: largest; it is drawn uniformly in its logarithm.
        current: ampere-turns [A] are drawn between a fifth of this and this.
    """
    check_positive(size=size, part_size=part_size, permeability_min=permeability_min)
    check_positive(current=current)
    check_at_least(permeability_min, permeability_max=permeability_max)
    require_mesh_extra("inductor2d")
    part = draw_inductor(rng, (permeability_min, permeability_max), current)
    mesh = inductor_mesh(part, size, part_size, rng)
    potential, flux = solve_inductor(mesh, part)
    curves = inductor_curves(part, size, part_size)
    core, coils = ([curve for curve in curves if curve.name == name] for name in POINTS.inputs)
    inputs = {
        "core": along(core, spacing=_SPACING),
        "coils": along(coils, lambda at: part.current_density * np.sign(at[:, 0]), _SPACING),
    }
    targets = [potential, *flux.T]
    return mesh_sample(mesh, targets, astuple(part), inputs, rng, singular=_ends(core))


def inductor_mesh(
    part: Inductor, size: float, part_size: float, rng: np.random.Generator
) -> QuadraticMesh:
    """A mesh in mm, fine at the corners of the core, where the flux density is infinite."""
    from surform.data.solvers.quadratic_mesh import QuadraticMesh
    from surform.data.solvers.triangulate import triangulate

    curves = inductor_curves(part, size, part_size)
    corners = _ends([curve for curve in curves if curve.name == "core"])
    details = (corners, part_size / 5)
    region = inductor_regions(part)
    return QuadraticMesh(triangulate(curves, region, size, rng, _GROWTH, 1.0, details))


def solve_inductor(mesh: QuadraticMesh, part: Inductor) -> tuple[np.ndarray, np.ndarray]:
    """Vector potential `(N,)` [Wb/m] and, at vertices, flux density `(V, 2)` [T]; mesh in mm."""
    from surform.data.solvers.mesh_diffusion import solve_diffusion

    reluctivity = np.array([1 / part.permeability, 1, 1, 1]) / _MU_0
    density = part.current_density
    # J [A/mm^2] and lengths in mm: the powers of ten cancel, and A_z is in Wb/m.
    potential = solve_diffusion(mesh, reluctivity, (0, density, -density, 0), {"box": _zero})
    slope = 1e3 * mesh.gradient(potential)
    return potential, np.stack([slope[:, 1], -slope[:, 0]], axis=1)


def inductor_curves(part: Inductor, size: float, part_size: float) -> list[Curve]:
    """The box, the surface of the core, outside and in the windows, and those of the coil."""
    half, inner = part.window_height / 2, part.limb / 2
    outer, high = part.limb + part.window_width, half + inner
    low_gap, high_gap = part.gap_height - part.gap / 2, part.gap_height + part.gap / 2
    wall = inner + part.window_width
    windows = [  # both, joined by the gap
        (-wall, -half),
        (-inner, -half),
        (-inner, low_gap),
        (inner, low_gap),
        (inner, -half),
        (wall, -half),
        (wall, half),
        (inner, half),
        (inner, high_gap),
        (-inner, high_gap),
        (-inner, half),
        (-wall, half),
    ]
    curves = polygon("box", _corners(-_BOX, -_BOX, _BOX, _BOX), size)
    curves += polygon("core", _corners(-outer, -high, outer, high), part_size)
    curves += polygon("core", windows, part_size)
    left, bottom, right, top = part.coil
    for box in ((left, bottom, right, top), (-right, bottom, -left, top)):
        curves += polygon("coils", _corners(*box), part_size)
    return curves


def inductor_regions(part: Inductor) -> Region:
    """CORE, COIL_RIGHT, COIL_LEFT or AIR."""
    half, inner = part.window_height / 2, part.limb / 2
    left, bottom, right, top = part.coil

    def region(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        across = np.abs(x)
        inside = (across < part.limb + part.window_width) & (np.abs(y) < half + inner)
        window = (across > inner) & (across < inner + part.window_width) & (np.abs(y) < half)
        gap = (across <= inner) & (np.abs(y - part.gap_height) < part.gap / 2)
        coil = (across > left) & (across < right) & (y > bottom) & (y < top)
        found = np.where(inside & ~window & ~gap, CORE, AIR)
        return np.where(coil, np.where(x > 0, COIL_RIGHT, COIL_LEFT), found)

    return region


def draw_inductor(
    rng: np.random.Generator, permeabilities: tuple[float, float], current: float
) -> Inductor:
    """A random inductor."""
    limb = rng.uniform(20, 40)
    width, height = rng.uniform(15, 30), rng.uniform(40, 70)
    gap = rng.uniform(2, 8)
    return Inductor(
        limb=limb,
        window_width=width,
        window_height=height,
        gap=gap,
        gap_height=rng.uniform(-0.25, 0.25) * height,
        current=rng.uniform(current / 5, current),
        permeability=math.exp(rng.uniform(*np.log(permeabilities))),
    )


def _corners(left: float, bottom: float, right: float, top: float) -> list[tuple[float, float]]:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _ends(curves: Sequence[Curve]) -> np.ndarray:
    return np.concatenate([curve.ends()[:1] for curve in curves])


def _zero(points: np.ndarray) -> np.ndarray:
    return np.zeros(len(points))
