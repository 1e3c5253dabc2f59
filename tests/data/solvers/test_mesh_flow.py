from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from skfem import ElementTriP1, ElementTriP2, FacetBasis

from surform.data.solvers.curves import circle, line
from surform.data.solvers.mesh_flow import solve_flow
from surform.data.solvers.ns2d_c import channel, inflow, inside, place_circles
from surform.data.solvers.quadratic_mesh import QuadraticMesh
from surform.data.solvers.triangulate import triangulate

VISCOSITY = 0.7
WALLS = ("bottom", "top", "circles")
STILL = dict.fromkeys(WALLS, np.zeros_like)


def mesh_of(circles, size, seed=0):
    rng = np.random.default_rng(seed)
    return QuadraticMesh(triangulate(channel(circles, size), inside(circles), size, rng))


def l2(basis, field, exact):
    """L2 norm of the error of a field."""
    places = np.asarray(basis.global_coordinates())
    wanted = exact(places.reshape(2, -1).T).reshape(places.shape[1:])
    return math.sqrt((((basis.interpolate(field) - wanted) ** 2) * basis.dx).sum())


class Manufactured:
    """Stream function ((x - 8) / 8)^4 sin(k y) / k: nothing pulls at the outlet x = 8."""

    k = math.pi / 8

    def parts(self, points):
        k, (x, y) = self.k, points.T
        s = (x - 8) / 8
        g = [s**4, s**3 / 2, 3 * s**2 / 16, 3 * s / 64]  # and its derivatives in x
        b = [np.sin(k * y) / k, np.cos(k * y), -k * np.sin(k * y), -(k**2) * np.cos(k * y)]
        return s, y, g, b

    def velocity(self, points):
        _, _, g, b = self.parts(points)
        return np.stack([g[0] * b[1], -g[1] * b[0]], axis=1)

    def pressure(self, points):
        s, y, _, _ = self.parts(points)
        return 5 * s * np.cos(2 * self.k * y)

    def force(self, points):
        s, y, g, b = self.parts(points)
        u, v = g[0] * b[1], -g[1] * b[0]
        carried = [
            u * g[1] * b[1] + v * g[0] * b[2],
            -u * g[2] * b[0] - v * g[1] * b[1],
        ]
        spread = [g[2] * b[1] + g[0] * b[3], -g[3] * b[0] - g[1] * b[2]]
        push = [
            5 / 8 * np.cos(2 * self.k * y),
            -10 * self.k * s * np.sin(2 * self.k * y),
        ]
        return np.stack(
            [c - VISCOSITY * d + p for c, d, p in zip(carried, spread, push, strict=True)], axis=1
        )


def test_manufactured_flow_has_the_orders_of_taylor_hood():
    exact = Manufactured()
    circles = place_circles(np.random.default_rng(3), 0.5, 0.8, 0.5)
    errors = []
    for size in (0.5, 0.35, 0.25):
        mesh = mesh_of(circles, size)
        fixed = dict.fromkeys(("left", *WALLS), exact.velocity)
        flow = solve_flow(mesh, VISCOSITY, fixed, exact.force)
        u = l2(mesh.basis, flow.velocity[:, 0], lambda p: exact.velocity(p)[:, 0])
        v = l2(mesh.basis, flow.velocity[:, 1], lambda p: exact.velocity(p)[:, 1])
        pressure = l2(mesh.basis.with_element(ElementTriP1()), flow.pressure, exact.pressure)
        errors.append((len(mesh.nodes) ** -0.5, math.hypot(u, v), pressure))
    h, *norms = np.log(errors).T
    velocity, pressure = (np.diff(norm) / np.diff(h) for norm in norms)
    assert (velocity > 2.8).all(), (errors, velocity)
    assert (pressure > 1.8).all(), (errors, pressure)
    assert errors[-1][1] < 1e-3


def test_a_channel_without_obstacles_has_the_parabola_of_poiseuille():
    circles = np.empty((0, 3))
    curves = channel(circles, 1.0)
    mesh = QuadraticMesh(
        triangulate(curves, lambda p: np.zeros(len(p), int), 1.0, np.random.default_rng(0))
    )
    flow = solve_flow(
        mesh, VISCOSITY, {"left": inflow, "bottom": np.zeros_like, "top": np.zeros_like}
    )
    np.testing.assert_allclose(flow.velocity, inflow(mesh.nodes), atol=1e-10)
    expected = VISCOSITY / 8 * (8 - mesh.vertices[:, 0])
    np.testing.assert_allclose(flow.pressure, expected, atol=1e-9)


def outflow(mesh, flow, name):
    side = FacetBasis(mesh.mesh, ElementTriP2(), facets=mesh.sides(name), intorder=5)
    u, v = (np.asarray(side.interpolate(part)) for part in flow.velocity.T)
    return float(((u * side.normals[0] + v * side.normals[1]) * side.dx).sum())


def test_mass_and_momentum_balance():
    circles = place_circles(np.random.default_rng(1), 0.3, 0.8, 0.3)
    mesh = mesh_of(circles, 0.7)
    flow = solve_flow(mesh, 1.0, {"left": inflow, **STILL})
    assert outflow(mesh, flow, "left") == pytest.approx(-16 / 3, rel=1e-4)
    assert outflow(mesh, flow, "right") == pytest.approx(16 / 3, rel=1e-4)
    assert abs(outflow(mesh, flow, "left") + outflow(mesh, flow, "right")) < 1e-9
    # what holds the obstacles is what the fluid loses: mean of pressure on the left and drag
    drag = -flow.reaction[mesh.on("circles")].sum(0)
    assert drag[0] > 0
    assert abs(drag[0]) > abs(drag[1])


def test_a_mirrored_channel_has_the_mirrored_flow():
    circles = place_circles(np.random.default_rng(2), 0.3, 0.8, 0.3)
    mirrored = circles * [1, -1, 1] + [0, 8, 0]
    drags = []
    for given, seed in ((circles, 0), (mirrored, 1)):
        mesh = mesh_of(given, 0.35, seed)
        flow = solve_flow(mesh, 1.0, {"left": inflow, **STILL})
        drags.append(-flow.reaction[mesh.on("circles")].sum(0))
    assert drags[0][0] == pytest.approx(drags[1][0], rel=1e-3)
    assert drags[0][1] == pytest.approx(-drags[1][1], rel=1e-2)


def test_published_drag_lift_and_pressure_of_a_cylinder():
    """Schäfer and Turek (1996), case 2D-1: Re = 20; values of John and Matthies (2001)."""
    height, length = 0.41, 2.2
    corners = [(0, 0), (length, 0), (length, height), (0, height)]
    names = ("bottom", "right", "top", "left")
    curves = [
        line(name, a, b, 0.05)
        for name, a, b in zip(names, corners, [*corners[1:], corners[0]], strict=True)
    ]
    curves.append(circle("circles", (0.2, 0.2), 0.05, 0.008))
    mesh = QuadraticMesh(
        triangulate(
            curves,
            inside(np.array([[0.2, 0.2, 0.05]])),
            0.05,
            np.random.default_rng(0),
            growth=0.15,
        )
    )

    def parabola(points):
        y = points[:, 1]
        return np.stack([1.2 * y * (height - y) / height**2, np.zeros_like(y)], axis=1)

    flow = solve_flow(mesh, 1e-3, {"left": parabola, **STILL})
    drag, lift = -500 * flow.reaction[mesh.on("circles")].sum(0)  # 2 F / (rho U^2 D), U = 0.2
    ends = [np.linalg.norm(mesh.vertices - [x, 0.2], axis=1).argmin() for x in (0.15, 0.25)]
    front, back = flow.pressure[ends]
    assert drag == pytest.approx(5.57953523384, rel=2e-3)
    assert lift == pytest.approx(0.010618948146, rel=5e-2)
    assert front - back == pytest.approx(0.11752016697, rel=1e-2)


@pytest.mark.fault
def test_no_steady_flow_is_one_sentence():
    circles = place_circles(np.random.default_rng(1), 0.3, 0.8, 0.3)
    mesh = mesh_of(circles, 1.0)
    with pytest.raises(ValueError, match=r"not converge in 20 steps at viscosity 1e-05: choose"):
        solve_flow(mesh, 1e-5, {"left": inflow, **STILL})
