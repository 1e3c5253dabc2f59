"""Steady conduction of heat through three layers with curved interfaces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.solvers.checks import check_at_least, check_positive
from surform.data.solvers.curves import Curve, Region, line
from surform.data.solvers.mesh_samples import (
    along,
    dimensionless,
    mesh_sample,
    require_mesh_extra,
)

__all__ = ["POINTS", "draw_interfaces", "heat", "layer_curves", "layers"]

_SIDE = 9.0
_KNOTS = 6
_LEAST_LAYER = 0.9

POINTS = dimensionless(
    PointsDescription(
        coordinates=("x", "y"),
        targets=("T",),
        parameters=("conductivity_1", "conductivity_2", "conductivity_3"),
        inputs={
            "bottom": ("x", "y", "T"),
            "top": ("x", "y", "T"),
            "interface_1": ("x", "y"),
            "interface_2": ("x", "y"),
        },
        weighted=("points", "bottom", "top", "interface_1", "interface_2"),
    )
)

Height = Callable[[np.ndarray], np.ndarray]


def heat(
    rng: np.random.Generator,
    *,
    size: float = 0.28,
    contrast: float = 10.0,
    amplitude: float = 1.0,
) -> PointSample:
    """Temperature T in 3 layers of different conductivity k: -div(k grad T) = 0 on [0, 9]^2.

    After the set "Heat" of GNOT (Hao et al., arXiv 2302.14376). Two cubic splines part the layers;
    on the bottom and on the top T is a cubic spline, up to 0.5 off a level between 0 and 1 at its
    knots, and no heat passes the sides. Quadratic elements on a random mesh that follows the
    interfaces, whose vertices are the points.

    Args:
        size: longest edge of the mesh.
        contrast: each k is drawn between 1/contrast and contrast, uniformly in its logarithm.
        amplitude: the knots of the interfaces lie up to so far from y = 3 and y = 6.
    """
    check_positive(size=size)
    check_at_least(1, contrast=contrast)
    check_at_least(0, amplitude=amplitude)
    require_mesh_extra("heat")
    from surform.data.solvers.mesh_diffusion import solve_diffusion
    from surform.data.solvers.quadratic_mesh import QuadraticMesh
    from surform.data.solvers.triangulate import triangulate

    conductivities = contrast ** rng.uniform(-1, 1, 3)
    interfaces = draw_interfaces(rng, amplitude)
    levels, swings = rng.uniform(0, 1, (2, 1)), rng.uniform(-0.5, 0.5, (2, _KNOTS))
    bottom, top = (_along_x(_spline(values)) for values in levels + swings)
    curves = layer_curves(interfaces, size)
    mesh = QuadraticMesh(triangulate(curves, layers(interfaces), size, rng))
    temperature = solve_diffusion(mesh, conductivities, (0, 0, 0), {"bottom": bottom, "top": top})
    values = {"bottom": bottom, "top": top}
    inputs = {
        name: along([curve for curve in curves if curve.name == name], values.get(name))
        for name in POINTS.inputs
    }
    return mesh_sample(mesh, [temperature], conductivities, inputs, rng)


def layer_curves(interfaces: Sequence[Height], size: float) -> list[Curve]:
    """The outer sides, cut where the interfaces end, and the interfaces."""
    curves = [
        line("bottom", (0, 0), (_SIDE, 0), size),
        line("top", (0, _SIDE), (_SIDE, _SIDE), size),
    ]
    for name, x in (("left", 0.0), ("right", _SIDE)):
        ends = [0.0, *(float(height(np.array([x]))[0]) for height in interfaces), _SIDE]
        curves += [line(name, (x, a), (x, b), size) for a, b in itertools.pairwise(ends)]
    for number, height in enumerate(interfaces, start=1):
        curves.append(Curve(f"interface_{number}", _graph(height), size))
    return curves


def layers(interfaces: Sequence[Height]) -> Region:
    """The number of the layer: 0 below the first interface, 1 between them, 2 above."""

    def region(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.sum([y > height(x) for height in interfaces], axis=0)

    return region


def draw_interfaces(rng: np.random.Generator, amplitude: float) -> list[Height]:
    """Two random heights `(n,)` as functions of x `(n,)`, the lower one first."""
    x = np.linspace(0, _SIDE, 257)
    for _ in range(1000):
        knots = amplitude * rng.uniform(-1, 1, (2, _KNOTS))
        low, high = _spline(_SIDE / 3 + knots[0]), _spline(2 * _SIDE / 3 + knots[1])
        thickness = np.stack([low(x), high(x) - low(x), _SIDE - high(x)])
        if thickness.min() >= _LEAST_LAYER:
            return [low, high]
    raise ValueError(
        f"interfaces with an amplitude of {amplitude} leave layers thinner than {_LEAST_LAYER}: "
        "choose a smaller amplitude"
    )


def _spline(knots: np.ndarray) -> Height:
    """A cubic spline through values at even distances on [0, 9].

    It is level at its ends, as the isothermals are at sides that no heat passes.
    """
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.linspace(0, _SIDE, len(knots)), knots, bc_type="clamped")


def _along_x(function: Height) -> Height:
    return lambda points: function(points[:, 0])


def _graph(height: Height) -> Height:
    return lambda s: np.stack([_SIDE * s, height(_SIDE * s)], axis=1)
