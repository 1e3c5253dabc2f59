"""Quadratic elements on curved triangles: what all finite-element solvers here share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu
from skfem import Basis, ElementTriP2, MeshTri1, MeshTri2

from surform.data.solvers.triangulate import Triangulation

__all__ = ["QuadraticMesh", "solve_with_fixed"]

_QUADRATURE = 5  # degree that is integrated exactly on straight triangles


class QuadraticMesh:
    """Six-node triangles whose sides lie on the curves of the domain, with scikit-fem's basis.

    Its N nodes are the V vertices and then the middles of the sides.

    Args:
        triangulation: its triangles; regions are numbered by precedence (see `gradient`).
    """

    def __init__(self, triangulation: Triangulation) -> None:
        vertices, triangles = triangulation.vertices.T, triangulation.triangles.T
        straight = MeshTri1(np.ascontiguousarray(vertices), np.ascontiguousarray(triangles))
        mesh: Any = MeshTri2.from_mesh(straight)
        facets = _facets(mesh, triangulation.edges)
        places = mesh.doflocs.copy()
        places[:, mesh.nvertices + facets] = triangulation.middles.T
        self.mesh: Any = replace(mesh, doflocs=places)  # its annotations are looser than it
        self.regions = triangulation.regions
        self.basis: Any = Basis(self.mesh, ElementTriP2(), intorder=_QUADRATURE)
        self.nodes: np.ndarray = places.T
        self.vertices: np.ndarray = self.nodes[: mesh.nvertices]
        names = triangulation.names
        self._facets = {str(name): facets[names == name] for name in np.unique(names)}

    def on(self, *names: str) -> np.ndarray:
        """Numbers of the nodes on the curves of these names, in ascending order."""
        sides = np.concatenate([self.sides(name) for name in names])
        middles = self.mesh.nvertices + sides
        return np.unique(np.concatenate([self.mesh.facets[:, sides].ravel(), middles]))

    def sides(self, name: str) -> np.ndarray:
        """Numbers of the sides on the curves of this name, as scikit-fem counts facets."""
        return self._facets[name]

    def weights(self) -> np.ndarray:
        """`(V,)` the area that each vertex stands for: a third of that of each of its triangles."""
        shares = np.tile(self.basis.dx.sum(1) / 3, 3)
        return np.bincount(self.mesh.t.ravel(), shares, len(self.vertices))

    def gradient(self, values: np.ndarray) -> np.ndarray:
        """The gradient `(V, 2)` of a quadratic field `(N,)` at the vertices.

        It jumps from triangle to triangle; a vertex gets the mean of its triangles, weighted by
        area. Where regions meet, only those of the lowest number count, so that the value is the
        limit from inside that region.
        """
        corners: Any = Basis(
            self.mesh, ElementTriP2(), quadrature=(ElementTriP2.doflocs[:3].T, np.full(3, 1 / 6))
        )
        jumping = np.asarray(corners.interpolate(values).grad)  # (2, triangles, 3)
        area = self.basis.dx.sum(1)
        count = len(self.vertices)
        gradient, seen = np.zeros((count, 2)), np.zeros(count, bool)
        for region in np.unique(self.regions):
            inside = self.regions == region
            vertices, share = self.mesh.t[:, inside].ravel(), np.tile(area[inside], 3)
            total = np.bincount(vertices, share, count)
            new = (total > 0) & ~seen
            for axis in range(2):
                sums = np.bincount(vertices, share * jumping[axis, inside].T.ravel(), count)
                gradient[new, axis] = sums[new] / total[new]
            seen |= new
        return gradient


def solve_with_fixed(
    matrix: csr_array, right: np.ndarray, fixed: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Solve a symmetric positive definite system whose unknowns `fixed` have the given values."""
    solution = np.zeros(len(right))
    solution[fixed] = values
    free = np.setdiff1d(np.arange(len(right)), fixed)
    rest = (right - matrix @ solution)[free]
    inner = matrix.tocsr()[free][:, free].tocsc()
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0}
    solution[free] = splu(inner, **symmetric, options={"SymmetricMode": True}).solve(rest)
    return solution


def _facets(mesh: Any, edges: np.ndarray) -> np.ndarray:
    """Numbers among the sides of `mesh` of the edges `(k, 2)`."""
    place = np.array([mesh.nvertices, 1])
    keys = place @ np.sort(mesh.facets, axis=0)
    order = np.argsort(keys)
    return order[np.searchsorted(keys, np.sort(edges, axis=1) @ place, sorter=order)]
