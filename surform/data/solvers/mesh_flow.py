"""Steady incompressible flow on a mesh: Taylor-Hood elements and Newton's method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import block_array, csr_array
from scipy.sparse.linalg import SuperLU, splu
from skfem import BilinearForm, ElementTriP1, LinearForm

from surform.data.solvers.quadratic_mesh import QuadraticMesh

__all__ = ["Flow", "solve_flow"]

Velocity = Callable[[np.ndarray], np.ndarray]

_TOLERANCE = 1e-10  # last step of Newton's method over the velocity
_ITERATIONS = 20
_PIVOT = 0.01
_FAST = 0.1  # as long as steps shrink by so much, the factors of an earlier step still serve


@dataclass(frozen=True, eq=False)
class Flow:
    """A steady flow on a mesh with N nodes and V vertices.

    Args:
        velocity: `(N, 2)`, quadratic.
        pressure: `(V,)`, linear.
        reaction: `(N, 2)`, the force on the fluid at nodes of given velocity, elsewhere zero.
    """

    velocity: np.ndarray
    pressure: np.ndarray
    reaction: np.ndarray


def solve_flow(
    mesh: QuadraticMesh,
    viscosity: float,
    fixed: Mapping[str, Velocity],
    force: Velocity | None = None,
) -> Flow:
    """Solve (u . grad) u - viscosity Lap u + grad p = force, div u = 0; density 1.

    Quadratic velocity, linear pressure (Taylor and Hood, 1973). Newton's method from the Stokes
    flow, which keeps a factored matrix as long as it serves; all that does not change with the
    velocity is assembled once.

    Args:
        mesh: of the fluid.
        viscosity: above 0.
        fixed: velocities `(n, 2)` on the named curves as functions of places `(n, 2)`. On the rest
            of the boundary viscosity du/dn - p n = 0: p = 0 where the flow is developed.
        force: per volume `(n, 2)` at places `(n, 2)`.

    Raises:
        ValueError: Newton's method does not converge: the flow is not steady, or not resolved.
    """
    n = len(mesh.nodes)
    nodes = np.unique(np.concatenate([mesh.on(name) for name in fixed]))
    given = np.zeros((n, 2))
    for name, function in fixed.items():
        given[mesh.on(name)] = function(mesh.nodes[mesh.on(name)])
    constant, load = _constant_part(mesh, viscosity, force)
    fixed_dofs = np.concatenate([nodes, n + nodes])
    free = np.setdiff1d(np.arange(len(load)), fixed_dofs)
    convection = _Convection(mesh)
    x = np.zeros(len(load))
    x[: 2 * n] = given.T.ravel()
    last, ratio = np.inf, np.inf
    for iteration in range(_ITERATIONS):
        residual = constant @ x - load
        if iteration == 0:  # the Stokes flow
            factors = _factors(constant, free)
        else:
            residual[: 2 * n] += convection.product(x[: 2 * n])
            if ratio > _FAST:
                factors = _factors(constant + convection.slope(x[: 2 * n], len(x)), free)
        step = factors.solve(residual[free])
        x[free] -= step
        size = np.linalg.norm(step)
        if iteration and size <= _TOLERANCE * np.linalg.norm(x):
            return _flow(mesh, x, constant, load, convection, nodes)
        if not np.isfinite(size):
            break
        ratio, last = (size / last if iteration > 1 else np.inf), size
    raise ValueError(
        f"Newton's method did not converge in {_ITERATIONS} steps at viscosity {viscosity:g}: "
        "choose a larger viscosity or a smaller size"
    )


class _Convection:
    """The integrals of (u . grad) u . v, and their derivative with respect to u.

    Written as batched products over all triangles rather than as a form: it is the only part that
    is assembled again in each of Newton's steps.
    """

    def __init__(self, mesh: QuadraticMesh) -> None:
        basis = mesh.basis
        shape = basis.dx.shape
        values = [np.broadcast_to(np.asarray(b[0]), shape) for b in basis.basis]
        self.value = np.stack(values, axis=1)  # (triangles, 6, q)
        grads = [np.broadcast_to(b[0].grad, (2, *shape)) for b in basis.basis]
        self.grad = np.stack(grads, axis=2)  # (2, triangles, 6, q)
        self.test = self.value * basis.dx[:, None]
        self.dofs = basis.element_dofs.T
        self.n = len(mesh.nodes)
        local = np.concatenate([self.dofs, self.n + self.dofs], axis=1)
        self._rows = np.repeat(local, 12, axis=1).ravel()
        self._columns = np.tile(local, (1, 12)).ravel()

    def product(self, x: np.ndarray) -> np.ndarray:
        """The integrals `(2 N,)` for the velocity `(2 N,)`, x component first."""
        here, slope = self._at_points(x)
        carried = here[0] * slope[:, 0] + here[1] * slope[:, 1]  # (2, triangles, q)
        local = np.einsum("eiq,ceq->cei", self.test, carried)
        return np.concatenate([np.bincount(self.dofs.ravel(), c.ravel(), self.n) for c in local])

    def slope(self, x: np.ndarray, size: int) -> csr_array:
        """The derivative of `product`, in the first rows and columns of `(size, size)`."""
        here, slope = self._at_points(x)
        along = here[0][:, None] * self.grad[0] + here[1][:, None] * self.grad[1]
        carried = self.test @ along.transpose(0, 2, 1)  # (triangles, 6, 6)
        basis = self.value.transpose(0, 2, 1)
        blocks = [[(self.test * slope[c, d][:, None]) @ basis for d in range(2)] for c in range(2)]
        blocks[0][0] += carried
        blocks[1][1] += carried
        local = np.block(blocks)
        return csr_array((local.ravel(), (self._rows, self._columns)), shape=(size, size))

    def _at_points(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u_c `(2, triangles, q)` and du_c/dx_d `(2, 2, triangles, q)` at quadrature points."""
        u = x.reshape(2, self.n)[:, self.dofs]  # (2, triangles, 6)
        here = np.einsum("cei,eiq->ceq", u, self.value)
        return here, np.einsum("cei,deiq->cdeq", u, self.grad)


def _factors(matrix: csr_array, free: np.ndarray) -> SuperLU:
    """Factors of the free part; pivots near the diagonal keep those of a saddle point sparse."""
    return splu(matrix[free][:, free].tocsc(), diag_pivot_thresh=_PIVOT)


def _constant_part(
    mesh: QuadraticMesh, viscosity: float, force: Velocity | None
) -> tuple[csr_array, np.ndarray]:
    """Matrix and right side of the Stokes equations; unknowns: u, v at nodes, p at vertices."""
    pressures = mesh.basis.with_element(ElementTriP1())
    stiffness = viscosity * _stiffness.assemble(mesh.basis)
    to_x, to_y = (form.assemble(mesh.basis, pressures) for form in (_outflow_x, _outflow_y))
    blocks: Any = [[stiffness, None, to_x.T], [None, stiffness, to_y.T], [to_x, to_y, None]]
    matrix = csr_array(block_array(blocks))
    load = np.zeros(2 * len(mesh.nodes) + len(mesh.vertices))
    if force is not None:
        places = np.asarray(mesh.basis.global_coordinates())
        density = force(places.reshape(2, -1).T).T.reshape(places.shape)
        n = len(mesh.nodes)
        for axis in range(2):
            part = _source.assemble(mesh.basis, f=density[axis])
            load[axis * n : (axis + 1) * n] = part
    return matrix, load


def _flow(
    mesh: QuadraticMesh,
    x: np.ndarray,
    constant: csr_array,
    load: np.ndarray,
    convection: _Convection,
    fixed: np.ndarray,
) -> Flow:
    n = len(mesh.nodes)
    residual = (constant @ x - load)[: 2 * n] + convection.product(x[: 2 * n])
    reaction = np.zeros((n, 2))
    reaction[fixed] = residual.reshape(2, n).T[fixed]
    return Flow(x[: 2 * n].reshape(2, n).T.copy(), x[2 * n :].copy(), reaction)


@BilinearForm
def _stiffness(u, v, w):
    return u.grad[0] * v.grad[0] + u.grad[1] * v.grad[1]


@BilinearForm
def _outflow_x(u, q, w):
    return -u.grad[0] * q


@BilinearForm
def _outflow_y(u, q, w):
    return -u.grad[1] * q


@LinearForm
def _source(v, w):
    return w.f * v
