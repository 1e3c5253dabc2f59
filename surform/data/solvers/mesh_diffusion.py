"""-div(k grad u) = f on a mesh whose regions have coefficients of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array
from skfem import BilinearForm, DiscreteField, LinearForm

from surform.data.solvers.quadratic_mesh import QuadraticMesh, solve_with_fixed

__all__ = ["diffusion_matrix", "solve_diffusion", "source_vector"]

Function = Callable[[np.ndarray], np.ndarray]


def solve_diffusion(
    mesh: QuadraticMesh,
    coefficients: Sequence[float] | np.ndarray,
    sources: Sequence[Function | float],
    fixed: Mapping[str, Function],
) -> np.ndarray:
    """Solve -div(k grad u) = f with quadratic elements; k grad u is continuous across interfaces.

    Args:
        mesh: regions are numbered 0, 1, ...
        coefficients: k of each region, above 0.
        sources: f of each region, a number or a function of places `(n, 2)`.
        fixed: u on the named curves, as functions of places `(n, 2)`; where curves meet the later
            counts. Elsewhere on the boundary no flux passes.

    Returns:
        u at the nodes, `(N,)`.
    """
    values: dict[int, float] = {}
    for name, function in fixed.items():
        nodes = mesh.on(name)
        values.update(zip(nodes.tolist(), function(mesh.nodes[nodes]).tolist(), strict=True))
    return solve_with_fixed(
        diffusion_matrix(mesh, coefficients),
        source_vector(mesh, sources),
        np.array(list(values), int),
        np.array(list(values.values())),
    )


def diffusion_matrix(mesh: QuadraticMesh, coefficients: Sequence[float] | np.ndarray) -> csr_array:
    """The matrix `(N, N)` of the integrals of k grad u . grad v."""
    k = np.asarray(coefficients, float)[mesh.regions][:, None]
    return _diffusion.assemble(mesh.basis, k=DiscreteField(np.broadcast_to(k, mesh.basis.dx.shape)))


def source_vector(mesh: QuadraticMesh, sources: Sequence[Function | float]) -> np.ndarray:
    """The vector `(N,)` of the integrals of f v."""
    places = np.asarray(mesh.basis.global_coordinates())  # (2, triangles, q)
    f = np.zeros(places.shape[1:])
    for region, source in enumerate(sources):
        inside = mesh.regions == region
        if callable(source):
            there = places[:, inside]
            f[inside] = source(there.reshape(2, -1).T).reshape(there.shape[1:])
        else:
            f[inside] = source
    return _source.assemble(mesh.basis, f=DiscreteField(f))


@BilinearForm
def _diffusion(u, v, w):
    return w.k * (u.grad[0] * v.grad[0] + u.grad[1] * v.grad[1])


@LinearForm
def _source(v, w):
    return w.f * v
