from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.points_checks import check_sample
from surform.data.solvers.ns2d_c import POINTS, ns2d_c, place_circles


@pytest.fixture(scope="module")
def sample():
    return ns2d_c(np.random.default_rng([0, 3]))


def test_a_sample_is_as_described_and_of_the_published_size(sample):
    check_sample(sample, POINTS, "here")
    assert 1000 < len(sample.points) < 2500
    assert sample.inputs["boundary"].shape == (400, 2)
    area = 64 - math.pi * (sample.parameters[2::3] ** 2).sum()
    assert sample.weights.sum() == pytest.approx(area, rel=1e-4)
    length = 32 + 2 * math.pi * sample.parameters[2::3].sum()
    assert sample.input_weights["boundary"].sum() == pytest.approx(length, rel=1e-4)


def test_fields_keep_their_boundary_values(sample):
    x, y = sample.points.T
    u, v, p = sample.targets.T
    left, right = x == 0, x == 8
    np.testing.assert_allclose(u[left], (y * (8 - y) / 16)[left], atol=1e-15)
    assert (v[left] == 0).all()
    circles = sample.parameters.reshape(4, 3)
    distance = np.linalg.norm(sample.points[:, None] - circles[:, :2], axis=2) / circles[:, 2]
    assert distance.min() > 1 - 1e-9
    still = (y == 0) | (y == 8) | (distance < 1 + 1e-9).any(1)
    assert still.sum() > 100
    np.testing.assert_array_equal(sample.targets[still, :2], 0)
    assert abs(p[right]).mean() < 0.05 * abs(p).max()
    assert p[left].mean() > 1.0  # without obstacles it would be 1


def test_the_order_of_the_points_tells_nothing(sample):
    on_side = (sample.points[:, 0] == 0).nonzero()[0] / len(sample.points)
    assert on_side.min() < 0.3
    assert on_side.max() > 0.7


def test_circles_keep_their_distances():
    for seed in range(20):
        circles = place_circles(np.random.default_rng(seed), 0.3, 0.8, 0.3)
        centres, radii = circles[:, :2], circles[:, 2]
        assert ((radii >= 0.3) & (radii <= 0.8)).all()
        assert (centres - radii[:, None] >= 0.3).all()
        assert (centres + radii[:, None] <= 7.7).all()
        apart = np.linalg.norm(centres[:, None] - centres, axis=2) - radii - radii[:, None]
        assert apart[~np.eye(4, dtype=bool)].min() >= 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0.0}, "size is 0.0, but it must be a number above 0"),
        ({"viscosity": -1.0}, "viscosity is -1.0, but it must be a number above 0"),
        ({"radius_max": 0.1}, "radius_max is 0.1, but it must be at least 0.3"),
        ({"radius_min": 1.9, "radius_max": 2.0}, r"hardly fit into \[0, 8\]\^2: choose smaller"),
        ({"radius_min": 5.0, "radius_max": 6.0}, r"hardly fit into \[0, 8\]\^2: choose smaller"),
        ({"gap": float("nan")}, "gap is nan"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        ns2d_c(np.random.default_rng(0), **options)
