"""The pictures of one sample of every solver on meshes: docs/images/<solver>.png.

python -m benchmarks.mesh_pictures
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.tri import Triangulation

from benchmarks.pictures import IMAGES
from surform.data.points import PointSample
from surform.data.solvers.ns2d_c import inside
from surform.data.solvers.options import find_solver, points_description
from surform.reports.images import png
from surform.reports.look import bare, limits, look, map_name

__all__ = ["main"]

_SEEDS = {"ns2d-c": 1, "heat": 4, "inductor2d": 0, "elasticity": 2}
_WINDOWS = {"inductor2d": 75.0}  # half the width that is shown: the air around says little


def main() -> None:
    for solver, seed in _SEEDS.items():
        sample = find_solver(solver)(np.random.default_rng([0, seed]))
        path = IMAGES / f"{solver}.png"
        with look():
            path.write_bytes(png(_picture(solver, sample), dpi=80))
        print(path)


def _picture(solver: str, sample: PointSample) -> Figure:
    about = points_description(solver)
    assert about is not None
    mesh = Triangulation(*sample.points.T)
    outside = _outside(solver, sample)
    mesh.set_mask(outside(sample.points[mesh.triangles].mean(1)))
    panels = 1 + len(about.targets)
    figure = Figure(figsize=(2.9 * panels, 2.75), layout="constrained")
    first, *others = figure.subplots(1, panels)
    first.triplot(mesh, color="#9aa3b2", linewidth=0.35)
    for name, rows in sample.inputs.items():
        first.plot(*rows[:, :2].T, ".", markersize=2.5, label=name)
    first.set_title("points and input functions")
    _frame(first, solver)
    for axes, name, field in zip(others, about.targets, sample.targets.T, strict=True):
        low, high = limits(field)
        options = {"vmin": low, "vmax": high, "cmap": map_name(low, high), "shading": "gouraud"}
        image = axes.tripcolor(mesh, field, **options)
        unit = about.unit(name)
        axes.set_title(name if unit == "1" else f"{name} [{unit}]")
        figure.colorbar(image, ax=axes, shrink=0.85, aspect=22)
        _frame(axes, solver)
    return figure


def _frame(axes: Axes, solver: str) -> None:
    axes.set_aspect("equal")
    bare(axes)
    if solver in _WINDOWS:
        half = _WINDOWS[solver]
        axes.set(xlim=(-half, half), ylim=(-half, half))


def _outside(solver: str, sample: PointSample) -> Callable[[np.ndarray], np.ndarray]:
    """Whether places `(n, 2)` are in a hole of the domain."""
    if solver == "ns2d-c":
        region = inside(sample.parameters.reshape(-1, 3))
        return lambda places: region(places) < 0
    if solver == "elasticity":
        return Outline(sample.inputs["hole"]).contains_points
    return lambda places: np.zeros(len(places), bool)


if __name__ == "__main__":
    main()
