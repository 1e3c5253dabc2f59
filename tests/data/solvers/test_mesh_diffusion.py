from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.solvers.curves import polygon
from surform.data.solvers.heat import draw_interfaces, layer_curves, layers
from surform.data.solvers.mesh_diffusion import diffusion_matrix, solve_diffusion, source_vector
from surform.data.solvers.quadratic_mesh import QuadraticMesh
from surform.data.solvers.triangulate import triangulate

K = (0.2, 3.0, 0.7)
SIDES = ("bottom", "top", "left", "right")


def layered(interfaces, size, seed=0):
    rng = np.random.default_rng(seed)
    return QuadraticMesh(triangulate(layer_curves(interfaces, size), layers(interfaces), size, rng))


class Manufactured:
    """T = F / k with F = 0 on both interfaces: T and k grad T are continuous there."""

    def __init__(self, interfaces):
        self.interfaces = interfaces
        self.region = layers(interfaces)

    def parts(self, points):
        x, y = points.T
        above = [y - height(x) for height in self.interfaces]
        slope = [-height(x, 1) for height in self.interfaces]
        bend = [-height(x, 2) for height in self.interfaces]
        return 1 + x / 9, above, slope, bend

    def temperature(self, points):
        w, (a, b), _, _ = self.parts(points)
        return a * b * w / np.take(K, self.region(points))

    def temperature_in(self, k):
        def function(points):
            w, (a, b), _, _ = self.parts(points)
            return a * b * w / k

        return function

    def source(self, points):
        """-Lap F, the same in all layers."""
        w, (a, b), (ax, bx), (axx, bxx) = self.parts(points)
        across = (axx * b + 2 * ax * bx + a * bxx) * w + 2 * (ax * b + a * bx) / 9
        return -(across + 2 * w)


def test_manufactured_layers_third_order_across_curved_interfaces():
    interfaces = draw_interfaces(np.random.default_rng(0), 1.0)
    exact = Manufactured(interfaces)
    errors = []
    for size in (0.9, 0.45, 0.25):
        mesh = layered(interfaces, size)
        found = solve_diffusion(
            mesh, K, [exact.source] * 3, dict.fromkeys(SIDES, exact.temperature)
        )
        places = np.asarray(mesh.basis.global_coordinates())
        # which layer is told by the triangle: curved sides differ a little from the spline
        wanted = np.empty(places.shape[1:])
        for region, k in enumerate(K):
            there = places[:, mesh.regions == region]
            values = exact.temperature_in(k)(there.reshape(2, -1).T)
            wanted[mesh.regions == region] = values.reshape(there.shape[1:])
        square = (mesh.basis.interpolate(found) - wanted) ** 2
        errors.append((len(mesh.nodes) ** -0.5, math.sqrt((square * mesh.basis.dx).sum())))
    h, norm = np.log(errors).T
    orders = np.diff(norm) / np.diff(h)  # that of one pair of random meshes varies
    assert (orders > 2.5).all(), (errors, orders)
    assert (norm[2] - norm[0]) / (h[2] - h[0]) > 2.8, (errors, orders)


def test_flat_layers_are_exact():
    def height(level):
        return lambda x: np.full_like(x, level)

    mesh = layered([height(2.0), height(5.0)], 1.5)
    found = solve_diffusion(
        mesh,
        K,
        (0, 0, 0),
        {"bottom": lambda p: np.zeros(len(p)), "top": lambda p: np.ones(len(p))},
    )
    y = mesh.nodes[:, 1]
    resistance = np.array([2 / K[0], 3 / K[1], 4 / K[2]])
    heights = np.concatenate([[0], np.cumsum(resistance)]) / resistance.sum()
    np.testing.assert_allclose(found, np.interp(y, [0, 2, 5, 9], heights), atol=1e-11)


def test_the_operator_is_symmetric_positive_and_knows_no_constant():
    mesh = layered(draw_interfaces(np.random.default_rng(1), 1.0), 1.5)
    matrix = diffusion_matrix(mesh, K)
    assert abs(matrix - matrix.T).max() < 1e-12
    assert np.abs(matrix @ np.ones(matrix.shape[0])).max() < 1e-11
    u = np.random.default_rng(0).standard_normal(matrix.shape[0])
    assert u @ matrix @ u > 0


def test_the_heat_that_sources_make_leaves_through_the_cold_sides():
    mesh = layered(draw_interfaces(np.random.default_rng(1), 1.0), 1.0)
    cold = {name: lambda p: np.zeros(len(p)) for name in ("bottom", "top")}
    found = solve_diffusion(mesh, K, (1.0, 2.0, 0.5), cold)
    made = source_vector(mesh, (1.0, 2.0, 0.5))
    left = made - diffusion_matrix(mesh, K) @ found  # what the fixed nodes take up
    rest = np.setdiff1d(np.arange(len(found)), mesh.on("bottom", "top"))
    assert np.abs(left[rest]).max() < 1e-11
    assert left.sum() == pytest.approx(made.sum())
    area = [float((mesh.basis.dx[mesh.regions == region]).sum()) for region in range(3)]
    assert made.sum() == pytest.approx(np.dot(area, (1.0, 2.0, 0.5)))
    assert sum(area) == pytest.approx(81)


def test_gradients_at_vertices_are_second_order_and_weights_sum_to_the_area():
    square = polygon("box", [(0, 0), (1, 0), (1, 1), (0, 1)], 1.0)
    errors = []
    for size in (0.15, 0.08, 0.04):
        mesh = QuadraticMesh(
            triangulate(square, lambda p: np.zeros(len(p), int), size, np.random.default_rng(0))
        )
        x, y = mesh.nodes.T
        gradient = mesh.gradient(np.sin(3 * x) * np.exp(y))
        x, y = mesh.vertices.T
        exact = np.stack([3 * np.cos(3 * x), np.sin(3 * x)], axis=1) * np.exp(y)[:, None]
        weights = mesh.weights()
        assert (weights > 0).all()
        assert weights.sum() == pytest.approx(1)
        assert weights @ (x * y) == pytest.approx(0.25, abs=size**2)
        error = math.sqrt(((gradient - exact) ** 2).sum(1) @ weights)
        errors.append((len(mesh.nodes) ** -0.5, error))
    h, norm = np.log(errors).T
    orders = np.diff(norm) / np.diff(h)
    assert (orders > 1.8).all(), (errors, orders)


def test_gradients_on_an_interface_are_those_of_the_lowest_region():
    def height(level):
        return lambda x: np.full_like(x, level)

    mesh = layered([height(2.0), height(5.0)], 1.5)
    found = np.interp(mesh.nodes[:, 1], [0, 2, 5, 9], [0, 4, 4.5, 20])
    slope = mesh.gradient(found)[:, 1]
    for name, expected in (("interface_1", 2.0), ("interface_2", 0.5 / 3)):
        there = mesh.on(name)
        found = slope[there[there < len(mesh.vertices)]]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
