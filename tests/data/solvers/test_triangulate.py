from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.solvers.curves import circle, line, polygon
from surform.data.solvers.elasticity import Hole, cell, outside
from surform.data.solvers.heat import draw_interfaces, layer_curves, layers
from surform.data.solvers.inductor2d import draw_inductor, inductor_curves, inductor_regions
from surform.data.solvers.ns2d_c import channel, inside, place_circles
from surform.data.solvers.spacing import Spacing
from surform.data.solvers.triangulate import smallest_angles, triangulate

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def all_in_one(points):
    return np.zeros(len(points), int)


def flow_domain(rng):
    circles = place_circles(rng, 0.3, 0.8, 0.3)
    return channel(circles, 0.5), inside(circles), 0.5, 2, 64 - math.pi * (circles[:, 2] ** 2).sum()


def heat_domain(rng):
    interfaces = draw_interfaces(rng, 1.0)
    return layer_curves(interfaces, 0.6), layers(interfaces), 0.6, 2, 81.0


def inductor_domain(rng):
    part = draw_inductor(rng, (50, 1000), 500)
    return inductor_curves(part, 30, 6), inductor_regions(part), 30, 1, 260.0**2


def elastic_domain(rng):
    hole = Hole(rng)
    angle = np.linspace(0, 2 * math.pi, 4000, endpoint=False)
    area = 1 - math.pi * (hole.radius(angle) ** 2).mean()
    return cell(hole, 0.07, 0.03), outside(hole), 0.07, 2, area


@pytest.mark.parametrize("domain", [flow_domain, heat_domain, inductor_domain, elastic_domain])
@pytest.mark.parametrize("seed", range(3))
def test_meshes_cover_their_domain_with_good_triangles(domain, seed):
    rng = np.random.default_rng(seed)
    curves, region, size, across, area = domain(rng)
    mesh = triangulate(curves, region, size, rng, across=across)
    corners = mesh.vertices[mesh.triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert areas.sum() == pytest.approx(area, rel=0.01)  # chords, not arcs
    assert smallest_angles(corners).min() > 12
    assert np.linalg.norm(np.roll(corners, 1, axis=1) - corners, axis=2).max() < 2 * size
    # The plane minus its holes (Euler): every hole costs one.
    sides = {tuple(sorted(s)) for t in mesh.triangles for s in zip(t, np.roll(t, 1), strict=True)}
    holes = sum(curve.closed() for curve in curves)
    assert len(mesh.vertices) - len(sides) + len(mesh.triangles) == 1 - holes
    assert {tuple(sorted(edge)) for edge in mesh.edges} <= sides


def test_regions_part_at_the_interfaces():
    rng = np.random.default_rng(0)
    curves, region, size, *_ = heat_domain(rng)
    mesh = triangulate(curves, region, size, rng)
    owners: dict[tuple[int, int], set[int]] = {}
    for triangle, number in zip(mesh.triangles, mesh.regions, strict=True):
        for side in zip(triangle, np.roll(triangle, 1), strict=True):
            owners.setdefault(tuple(sorted(side)), set()).add(number)
    between = {
        name: {tuple(sorted(e)) for e in mesh.edges[mesh.names == name]}
        for name in ("interface_1", "interface_2")
    }
    assert {side for side, found in owners.items() if found == {0, 1}} == between["interface_1"]
    assert {side for side, found in owners.items() if found == {1, 2}} == between["interface_2"]


def test_middles_lie_on_the_curves():
    ring = circle("ring", (0.5, 0.5), 0.2, 0.1)
    mesh = triangulate(
        [*polygon("box", SQUARE, 0.2), ring],
        lambda points: np.where(np.linalg.norm(points - 0.5, axis=1) < 0.2, -1, 0),
        0.2,
        np.random.default_rng(0),
    )
    on_ring = mesh.names == "ring"
    distance = np.linalg.norm(mesh.middles[on_ring] - 0.5, axis=1)
    np.testing.assert_allclose(distance, 0.2, rtol=1e-12)
    ends = np.linalg.norm(mesh.vertices[mesh.edges[on_ring]] - 0.5, axis=2)
    np.testing.assert_allclose(ends, 0.2, rtol=1e-12)


def test_edges_shorten_at_details_and_grow_from_them():
    curves = [*polygon("box", SQUARE, 0.2), line("slit", (0.3, 0.9), (0.7, 0.9), 0.2)]
    spacing = Spacing(curves, 0.2, 0.25, 2.0)
    at_slit, below, far = spacing(np.array([[0.5, 0.95], [0.5, 0.7], [0.5, 0.1]]))
    assert 0.04 < at_slit < 0.07
    assert at_slit < below <= 0.25 * 0.2 + 0.05 + 1e-9
    assert far == 0.2


def test_meshes_are_random_but_a_function_of_their_seed():
    curves = polygon("box", SQUARE, 0.2)
    one, same, other = (
        triangulate(curves, all_in_one, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.vertices, same.vertices)
    np.testing.assert_array_equal(one.triangles, same.triangles)
    assert one.vertices.shape != other.vertices.shape or (one.vertices != other.vertices).any()


def test_a_domain_that_cannot_be_meshed_is_one_sentence():
    needle = polygon("needle", [(0, 0), (1, 0), (1, 0.05)], 0.2)
    with pytest.raises(ValueError, match=r"no mesh with good angles .* at size 0\.2: choose a sma"):
        triangulate(needle, all_in_one, 0.2, np.random.default_rng(0))
