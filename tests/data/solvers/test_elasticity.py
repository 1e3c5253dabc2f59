from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.points_checks import check_sample
from surform.data.solvers.elasticity import POINTS, Hole, elasticity


@pytest.fixture(scope="module")
def sample():
    return elasticity(np.random.default_rng([0, 2]))


def test_a_sample_is_as_described(sample):
    check_sample(sample, POINTS, "here")
    assert 900 < len(sample.points) < 2000
    assert sample.inputs["hole"].shape == (50, 2)
    hole = sample.inputs["hole"]
    x, y = hole.T
    enclosed = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert sample.weights.sum() + enclosed == pytest.approx(1, abs=5e-3)
    corners = np.linalg.norm(sample.points[:, None] - [[0, 0], [1, 0]], axis=2)
    assert (
        (corners.min(0) > 0.001) & (corners.min(0) < 0.01)
    ).all()  # the stress is infinite there


def test_the_cell_is_clamped_below_and_pulled_upwards(sample):
    stress, _, u_y = sample.targets.T
    bottom, top = (sample.points[:, 1] == height for height in (0, 1))
    np.testing.assert_array_equal(sample.targets[bottom, 1:], 0)
    assert u_y[top].mean() > 1.0  # more than without a hole
    assert (stress > 0).all()
    assert stress.max() > 2.0


def test_plane_strain_is_stiffer_than_plane_stress():
    moved = [
        elasticity(np.random.default_rng(0), state=state).targets[:, 2].max()
        for state in ("plane_stress", "plane_strain")
    ]
    assert 0.8 < moved[1] / moved[0] < 0.97  # 1 - poisson^2 = 0.91 in a bar


def test_holes_have_the_published_radii():
    angle = np.linspace(0, 2 * math.pi, 200)
    radii = np.array([Hole(np.random.default_rng(seed)).radius(angle) for seed in range(300)])
    assert radii.min() > 0.2
    assert radii.max() < 0.4
    f = np.log(0.2 / (radii - 0.2) - 1)
    mode = np.arange(1, 7)
    variance = 16 / math.pi * (1 / 18 + (1 / (9 + mode**2)).sum())
    assert f.std() == pytest.approx(math.sqrt(variance), rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0.0}, "size is 0.0, but it must be a number above 0"),
        ({"hole_size": -1.0}, "hole_size is -1.0, but it must be a number above 0"),
        ({"poisson": 0.5}, "poisson is 0.5, but it must be at most 0.49"),
        ({"poisson": -0.5}, "poisson is -0.5, but it must be at least 0"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        elasticity(np.random.default_rng(0), **options)
