"""From a solution on a mesh to a sample of points, and what problems on meshes share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from surform.data.extras import require_extra
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.solvers.curves import Curve, evenly_along

if TYPE_CHECKING:
    from surform.data.solvers.quadratic_mesh import QuadraticMesh

__all__ = ["along", "dimensionless", "mesh_sample", "require_mesh_extra"]

_PER_ARC = 50


def require_mesh_extra(solver: str) -> None:
    """ImportError that names surform[mesh] where scikit-fem is missing."""
    require_extra("skfem", "mesh", f"generating {solver}")


def dimensionless(description: PointsDescription) -> PointsDescription:
    """The description with the unit "1" for every variable."""
    return replace(description, units=dict.fromkeys(description.variables(), "1"))


def along(
    curves: Sequence[Curve],
    values: Callable[[np.ndarray], np.ndarray] | None = None,
    spacing: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """An input function on curves: rows `(M, 2 or 3)`, and the length that each stands for.

    Args:
        curves: arcs, one after the other.
        values: the function `(n,)` of places `(n, 2)`; the curves alone without it.
        spacing: the largest distance of neighbours; by default each arc has 50 points.
    """
    counts = [_PER_ARC if spacing is None else math.ceil(c.length() / spacing) for c in curves]
    places, lengths = evenly_along(curves, counts)
    if values is None:
        return places, lengths
    return np.concatenate([places, values(places)[:, None]], axis=1), lengths


def mesh_sample(
    mesh: QuadraticMesh,
    targets: Sequence[np.ndarray],
    parameters: Sequence[float] | np.ndarray,
    inputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    singular: np.ndarray | None = None,
) -> PointSample:
    """The vertices of a mesh in random order, with the area that each stands for.

    Args:
        mesh: of the sample.
        targets: fields at its vertices or nodes, each `(V,)` or `(N,)`.
        parameters: in the order of the description.
        inputs: what `along` gives for each input function.
        rng: source of the order. It tells nothing: meshers number the nodes of a boundary first.
        singular: places `(k, 2)` where a target is infinite: the vertices there are left out.
    """
    order = rng.permutation(len(mesh.vertices))
    if singular is not None:
        apart = np.linalg.norm(mesh.vertices[order, None] - singular, axis=2).min(1)
        order = order[apart > 1e-9 * np.ptp(mesh.vertices)]
    return PointSample(
        points=mesh.vertices[order],
        targets=np.stack([field[order] for field in targets], axis=1),
        parameters=np.asarray(parameters, float),
        inputs={name: rows for name, (rows, _) in inputs.items()},
        weights=mesh.weights()[order],
        input_weights={name: lengths for name, (_, lengths) in inputs.items()},
    )
