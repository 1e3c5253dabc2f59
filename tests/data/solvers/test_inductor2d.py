from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.points_checks import check_sample
from surform.data.solvers.inductor2d import (
    AIR,
    COIL_LEFT,
    COIL_RIGHT,
    CORE,
    POINTS,
    Inductor,
    inductor2d,
    inductor_mesh,
    inductor_regions,
    solve_inductor,
)

MU_0 = 4e-7 * math.pi
PART = Inductor(30.0, 20.0, 50.0, 4.0, 5.0, 400.0, 300.0)


@pytest.fixture(scope="module")
def sample():
    return inductor2d(np.random.default_rng([0, 0]))


@pytest.fixture(scope="module")
def mesh():
    return inductor_mesh(PART, 30, 5, np.random.default_rng(0))


def test_a_sample_is_as_described(sample):
    check_sample(sample, POINTS, "here")
    assert 1000 < len(sample.points) < 2500
    assert sample.weights.sum() == pytest.approx(260**2, rel=1e-3)
    assert 300 < len(sample.inputs["core"]) < 700
    assert 80 < len(sample.inputs["coils"]) < 250
    assert sample.input_weights["core"].max() <= 2
    assert set(np.sign(sample.inputs["coils"][:, 2])) == {-1, 1}
    assert np.abs(sample.points).max() == 130
    edge = (np.abs(sample.points) == 130).any(1)
    np.testing.assert_array_equal(sample.targets[edge, 0], 0)


def test_no_point_lies_at_a_corner_of_the_core(sample):
    part = Inductor(*sample.parameters)
    half, inner = part.window_height / 2, part.limb / 2
    for corner in (
        [inner, half],
        [inner + part.window_width, -half],
        [part.limb + part.window_width, half + inner],
        [-inner, part.gap_height + part.gap / 2],
    ):
        distance = np.linalg.norm(sample.points - corner, axis=1).min()
        assert 0.2 < distance < 1.5  # but the mesh is fine there


def test_the_coil_carries_the_current(sample):
    part = Inductor(*sample.parameters)
    left, bottom, right, top = part.coil
    density = sample.inputs["coils"][:, 2]
    assert density.max() * (right - left) * (top - bottom) == pytest.approx(part.current)


def test_circulation_of_h_is_the_current(mesh):
    """Ampère: H along a path around the right half of the coil, through core, gap and air."""
    potential, _flux = solve_inductor(mesh, PART)
    basis = mesh.basis
    gradient = np.asarray(basis.interpolate(potential).grad)
    strength = gradient[[1, 0]] * [[[1.0]], [[-1.0]]] * 1e3 / MU_0
    strength[:, mesh.regions == CORE] /= PART.permeability
    # The weak form: the integral of H x grad(w) is the current times w, for a w that is 1 on the
    # coil and 0 outside of a ring around it.
    x, y = np.asarray(basis.global_coordinates())
    left, bottom, right, top = PART.coil
    away = np.maximum.reduce([left - x, x - right, bottom - y, y - top])
    ring = (away > 0) & (away < 10)
    along = np.where(
        (np.maximum(left - x, x - right) >= np.maximum(bottom - y, y - top))[None],
        np.stack([np.where(x > right, 1.0, -1.0), np.zeros_like(x)]),
        np.stack([np.zeros_like(y), np.where(y > top, 1.0, -1.0)]),
    )
    circulation = strength[1] * along[0] - strength[0] * along[1]
    found = (circulation * ring * basis.dx).sum() / 10 * 1e-3
    assert found == pytest.approx(PART.current, rel=0.02)


def test_energy_of_the_field_is_the_work_of_the_current(mesh):
    potential, _ = solve_inductor(mesh, PART)
    basis = mesh.basis
    field = basis.interpolate(potential)
    square = (np.asarray(field.grad) ** 2).sum(0) * 1e6 / MU_0
    square[mesh.regions == CORE] /= PART.permeability
    energy = (square * basis.dx).sum() / 2 * 1e-6  # [J/m]
    sign = np.select([mesh.regions == COIL_RIGHT, mesh.regions == COIL_LEFT], [1.0, -1.0])
    work = PART.current_density * (sign[:, None] * np.asarray(field) * basis.dx).sum() / 2
    assert energy == pytest.approx(work, rel=1e-9)
    assert energy > 0


def test_flux_density_in_the_gap_is_what_the_reluctance_says(mesh):
    ideal = replace(PART, permeability=1e5)
    _, flux = solve_inductor(mesh, ideal)
    across, up = np.abs(mesh.vertices - [0, PART.gap_height]).T
    middle = (across < 8) & (up <= PART.gap / 2 + 1e-9)
    assert middle.sum() > 4
    expected = MU_0 * PART.current / (PART.gap * 1e-3)
    np.testing.assert_allclose(flux[middle, 1], -expected, rtol=0.05)


def test_the_potential_is_odd_across_the_middle(mesh):
    potential, _ = solve_inductor(mesh, PART)
    middle = np.abs(mesh.nodes[:, 0]) < 1e-9
    right = mesh.vertices[:, 0] > 0
    weights, at_vertices = mesh.weights(), potential[: len(mesh.vertices)]
    total = weights @ at_vertices, weights[right] @ at_vertices[right]
    assert abs(total[0]) < 2e-3 * total[1]
    assert np.abs(potential[middle]).max(initial=0) < 1e-2 * potential.max()


def test_regions_are_told_apart():
    places = np.array([[0, 30], [25, 0], [-25, 0], [0, 5], [16, 0], [100, 0], [0, 0], [36, 0]])
    expected = [CORE, COIL_RIGHT, COIL_LEFT, AIR, AIR, AIR, CORE, CORE]
    np.testing.assert_array_equal(inductor_regions(PART)(places.astype(float)), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0.0}, "size is 0.0, but it must be a number above 0"),
        ({"current": -5.0}, "current is -5.0, but it must be a number above 0"),
        ({"permeability_max": 10.0}, "permeability_max is 10.0, but it must be at least 50.0"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        inductor2d(np.random.default_rng(0), **options)
