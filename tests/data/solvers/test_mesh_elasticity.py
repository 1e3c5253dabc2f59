from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.solvers.curves import Curve, circle, polygon
from surform.data.solvers.elasticity import Hole, cell, outside
from surform.data.solvers.mesh_elasticity import solve_elasticity, stress, von_mises
from surform.data.solvers.quadratic_mesh import QuadraticMesh
from surform.data.solvers.triangulate import triangulate

POISSON = 0.3
STATES = ("plane_stress", "plane_strain")
SIDES = ("bottom", "right", "top", "left")


def lame(state):
    shear = 1 / (2 * (1 + POISSON))
    if state == "plane_stress":
        return POISSON / (1 - POISSON**2), shear
    return POISSON / ((1 + POISSON) * (1 - 2 * POISSON)), shear


class Manufactured:
    """u = (sin(2 x + y), cos(x - 2 y)) / 10."""

    a, b = np.array([2.0, 1.0]), np.array([1.0, -2.0])

    def __init__(self, state):
        self.lam, self.mu = lame(state)

    def displacement(self, p):
        return np.stack([np.sin(p @ self.a), np.cos(p @ self.b)], axis=1) / 10

    def stress(self, p):
        """xx, yy, xy."""
        first = np.cos(p @ self.a)[:, None] * self.a / 10
        second = -np.sin(p @ self.b)[:, None] * self.b / 10
        spread = self.lam * (first[:, 0] + second[:, 1])
        return np.stack(
            [
                spread + 2 * self.mu * first[:, 0],
                spread + 2 * self.mu * second[:, 1],
                self.mu * (first[:, 1] + second[:, 0]),
            ],
            axis=1,
        )

    def force(self, p):
        sine, cosine = np.sin(p @ self.a)[:, None], np.cos(p @ self.b)[:, None]
        laplace = np.concatenate([-5 * sine, -5 * cosine], axis=1)
        slope = -self.a[0] * sine * self.a - self.b[1] * cosine * self.b  # of the divergence
        return -(self.mu * laplace + (self.lam + self.mu) * slope) / 10

    def traction(self, normal):
        def function(p):
            xx, yy, xy = self.stress(p).T
            x, y = normal
            return np.stack([xx * x + xy * y, xy * x + yy * y], axis=1)

        return function


def cell_mesh(size, seed=0):
    hole = Hole(np.random.default_rng(4))
    return QuadraticMesh(
        triangulate(cell(hole, size, size / 2), outside(hole), size, np.random.default_rng(seed))
    )


@pytest.mark.parametrize("state", STATES)
def test_manufactured_deformation_third_order_and_its_stresses_second(state):
    exact = Manufactured(state)
    normals = {"top": (0, 1), "left": (-1, 0), "right": (1, 0)}
    errors = []
    for size in (0.12, 0.07, 0.04):
        mesh = cell_mesh(size)
        found = solve_elasticity(
            mesh,
            POISSON,
            state,
            dict.fromkeys(("bottom", "hole"), exact.displacement),
            {name: exact.traction(normal) for name, normal in normals.items()},
            exact.force,
        )
        weights = mesh.weights()
        places = np.asarray(mesh.basis.global_coordinates())
        wanted = exact.displacement(places.reshape(2, -1).T).T.reshape(places.shape)
        square = sum(
            (mesh.basis.interpolate(found[:, axis]) - wanted[axis]) ** 2 for axis in range(2)
        )
        difference = stress(mesh, found, POISSON, state)[:, :3] - exact.stress(mesh.vertices)
        errors.append(
            [
                len(mesh.nodes) ** -0.5,
                math.sqrt((square * mesh.basis.dx).sum()),
                math.sqrt((difference**2).sum(1) @ weights),
            ]
        )
    h, *norms = np.log(errors).T
    displacement, strain = (np.diff(norm) / np.diff(h) for norm in norms)
    assert (displacement > 2.8).all(), (errors, displacement)
    assert (strain > 1.8).all(), (errors, strain)


@pytest.mark.parametrize("state", STATES)
def test_uniform_strain_is_exact_around_a_hole(state):
    mesh = cell_mesh(0.15)
    strain = np.array([[0.3, -0.1], [0.2, 0.5]])
    move = dict.fromkeys((*SIDES, "hole"), lambda p: p @ strain.T)
    found = solve_elasticity(mesh, POISSON, state, move, {})
    np.testing.assert_allclose(found, mesh.nodes @ strain.T, atol=1e-12)
    lam, mu = lame(state)
    xx, yy, xy, zz = stress(mesh, found, POISSON, state).T
    np.testing.assert_allclose(xx, lam * 0.8 + 2 * mu * 0.3, atol=1e-10)
    np.testing.assert_allclose(yy, lam * 0.8 + 2 * mu * 0.5, atol=1e-10)
    np.testing.assert_allclose(xy, mu * 0.1, atol=1e-10)
    np.testing.assert_allclose(zz, POISSON * (xx + yy) if "strain" in state else 0, atol=1e-10)


def test_loads_are_reciprocal():
    """Betti: the work of one load along the deformation by another is mutual."""
    mesh = cell_mesh(0.15)
    clamped = {"bottom": np.zeros_like}
    loads = [
        {"top": lambda p: np.stack([np.sin(3 * p[:, 0]), np.ones(len(p))], axis=1)},
        {"right": lambda p: np.stack([p[:, 1] ** 2, -p[:, 1]], axis=1)},
    ]
    one, two = (solve_elasticity(mesh, POISSON, "plane_stress", clamped, load) for load in loads)
    mutual = [work(mesh, loads[0], two), work(mesh, loads[1], one)]
    assert mutual[0] == pytest.approx(mutual[1], rel=1e-9)
    assert work(mesh, loads[0], one) > 0


def work(mesh, load, displacement):
    from skfem import ElementTriP2, FacetBasis

    total = 0.0
    for name, function in load.items():
        side = FacetBasis(mesh.mesh, ElementTriP2(), facets=mesh.sides(name), intorder=5)
        places = np.asarray(side.global_coordinates())
        force = function(places.reshape(2, -1).T).T.reshape(places.shape)
        moved = np.stack([np.asarray(side.interpolate(part)) for part in displacement.T])
        total += float(((force * moved).sum(0) * side.dx).sum())
    return total


def test_stress_at_a_round_hole_is_three_times_that_far_away():
    """Kirsch (1898): a hole in an infinite plate that is pulled upwards with stress 1."""
    radius, modulus = 0.1, 1.0
    shear, kappa = modulus / (2 * (1 + POISSON)), (3 - POISSON) / (1 + POISSON)

    def displacement(p):
        # textbook formula for a pull along x; here x and y change places
        y, x = (p - 0.5).T
        r, t = np.hypot(x, y), np.arctan2(y, x)
        s, q = r / radius, radius / r
        ux = (
            radius
            / (8 * shear)
            * (
                s * (kappa + 1) * np.cos(t)
                + 2 * q * ((1 + kappa) * np.cos(t) + np.cos(3 * t))
                - 2 * q**3 * np.cos(3 * t)
            )
        )
        uy = (
            radius
            / (8 * shear)
            * (
                s * (kappa - 3) * np.sin(t)
                + 2 * q * ((1 - kappa) * np.sin(t) + np.sin(3 * t))
                - 2 * q**3 * np.sin(3 * t)
            )
        )
        return np.stack([uy, ux], axis=1)

    sides = polygon("", [(0, 0), (1, 0), (1, 1), (0, 1)], 0.08)
    curves = [Curve("box", side.at, 0.08) for side in sides]
    mesh = QuadraticMesh(
        triangulate(
            [*curves, circle("hole", (0.5, 0.5), radius, 0.012)],
            lambda p: np.where(np.linalg.norm(p - 0.5, axis=1) < radius, -1, 0),
            0.08,
            np.random.default_rng(0),
        )
    )
    found = solve_elasticity(mesh, POISSON, "plane_stress", {"box": displacement}, {})
    error = np.linalg.norm(found - displacement(mesh.nodes))
    assert error < 1e-3 * np.linalg.norm(found)
    ring = mesh.on("hole")
    ring = ring[ring < len(mesh.vertices)]
    angle = np.arctan2(*(mesh.vertices[ring] - 0.5).T[::-1])
    equivalent = von_mises(stress(mesh, found, POISSON, "plane_stress"))[ring]
    np.testing.assert_allclose(equivalent, np.abs(1 + 2 * np.cos(2 * angle)), atol=0.1)
    assert equivalent.max() == pytest.approx(3, rel=0.02)


def test_von_mises_of_known_states():
    states = np.array([[2.0, 0, 0, 0], [0, 0, 1, 0], [3, 3, 0, 3], [1, -1, 0, 0]])
    np.testing.assert_allclose(von_mises(states), [2, math.sqrt(3), 0, math.sqrt(3)])
