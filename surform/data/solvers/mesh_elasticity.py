"""Small deformations of a plane elastic body on a mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from skfem import Basis, ElementTriP2, ElementVector, FacetBasis, LinearForm
from skfem.helpers import dot
from skfem.models.elasticity import linear_elasticity

from surform.data.solvers.quadratic_mesh import QuadraticMesh, solve_with_fixed

__all__ = ["State", "solve_elasticity", "stress", "von_mises"]

State = Literal["plane_stress", "plane_strain"]
Vector = Callable[[np.ndarray], np.ndarray]


def solve_elasticity(
    mesh: QuadraticMesh,
    poisson: float,
    state: State,
    fixed: Mapping[str, Vector],
    traction: Mapping[str, Vector],
    force: Vector | None = None,
) -> np.ndarray:
    """Solve -div sigma(u) = force for an isotropic body of Young's modulus 1.

    Args:
        mesh: of the body.
        poisson: Poisson's ratio, at least 0 and below 0.5.
        state: "plane_stress" (a thin plate) or "plane_strain" (a long prism).
        fixed: displacements `(n, 2)` on the named curves as functions of places `(n, 2)`.
        traction: forces per area on the named curves; there are none on the rest of the boundary.
        force: per volume.

    Returns:
        Displacements of the nodes, `(N, 2)`.
    """
    basis = Basis(mesh.mesh, ElementVector(ElementTriP2()), intorder=5)
    matrix = linear_elasticity(*_lame(poisson, state)).assemble(basis)
    right = np.zeros(basis.N)
    for name, function in traction.items():
        side = FacetBasis(
            mesh.mesh, ElementVector(ElementTriP2()), facets=mesh.sides(name), intorder=5
        )
        right += _load(side, function)
    if force is not None:
        right += _load(basis, force)
    values = np.full((len(mesh.nodes), 2), np.nan)
    for name, function in fixed.items():
        nodes = mesh.on(name)
        values[nodes] = function(mesh.nodes[nodes])
    known = np.flatnonzero(np.isfinite(values.ravel()))  # unknowns of a node follow each other
    return solve_with_fixed(matrix, right, known, values.ravel()[known]).reshape(-1, 2)


def stress(
    mesh: QuadraticMesh, displacement: np.ndarray, poisson: float, state: State
) -> np.ndarray:
    """The stresses xx, yy, xy, zz at the vertices, `(V, 4)`."""
    lam, mu = _lame(poisson, state)
    (xx, xy), (yx, yy) = (mesh.gradient(part).T for part in displacement.T)
    sides = [lam * (xx + yy) + 2 * mu * strain for strain in (xx, yy)]
    through = poisson * (sides[0] + sides[1]) if state == "plane_strain" else np.zeros_like(xx)
    return np.stack([*sides, mu * (xy + yx), through], axis=1)


def von_mises(stresses: np.ndarray) -> np.ndarray:
    """Von Mises' equivalent `(V,)` of the stresses xx, yy, xy, zz `(V, 4)`."""
    xx, yy, xy, zz = stresses.T
    return np.sqrt(((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * xy**2)


def _lame(poisson: float, state: State) -> tuple[float, float]:
    """Lamé's parameters of a plane problem for Young's modulus 1."""
    shear = 1 / (2 * (1 + poisson))
    if state == "plane_stress":
        return poisson / (1 - poisson**2), shear
    return poisson / ((1 + poisson) * (1 - 2 * poisson)), shear


def _load(basis: Basis | FacetBasis, function: Vector) -> np.ndarray:
    places = np.asarray(basis.global_coordinates())  # (2, elements, q)
    density = function(places.reshape(2, -1).T).T.reshape(places.shape)
    return _work.assemble(basis, f=density)


@LinearForm
def _work(v, w):
    return dot(w.f, v)
