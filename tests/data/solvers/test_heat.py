from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skfem")

from surform.data.points_checks import check_sample
from surform.data.solvers.heat import POINTS, draw_interfaces, heat


@pytest.fixture(scope="module")
def sample():
    return heat(np.random.default_rng([0, 1]))


def test_a_sample_is_as_described(sample):
    check_sample(sample, POINTS, "here")
    assert 1000 < len(sample.points) < 2500
    assert sample.weights.sum() == pytest.approx(81)
    assert ((sample.parameters >= 0.1) & (sample.parameters <= 10)).all()
    assert {name: rows.shape for name, rows in sample.inputs.items()} == {
        "bottom": (50, 3),
        "top": (50, 3),
        "interface_1": (50, 2),
        "interface_2": (50, 2),
    }


@pytest.mark.parametrize(("side", "height"), [("bottom", 0.0), ("top", 9.0)])
def test_the_input_functions_are_the_temperatures_of_the_sides(sample, side, height):
    given = sample.inputs[side]
    assert (given[:, 1] == height).all()
    there = sample.points[:, 1] == height
    x, found = sample.points[there, 0], sample.targets[there, 0]
    inner = (x > given[0, 0]) & (x < given[-1, 0])
    # linear interpolation between 50 points of a spline
    np.testing.assert_allclose(
        found[inner], np.interp(x[inner], given[:, 0], given[:, 2]), atol=5e-3
    )


def test_temperatures_obey_the_maximum_principle(sample):
    given = np.concatenate([sample.inputs["bottom"][:, 2], sample.inputs["top"][:, 2]])
    assert sample.targets.min() > given.min() - 2e-3
    assert sample.targets.max() < given.max() + 2e-3


def test_mesh_points_lie_on_the_interfaces(sample):
    for name in ("interface_1", "interface_2"):
        curve = sample.inputs[name]
        height = np.interp(sample.points[:, 0], curve[:, 0], curve[:, 1])
        near = np.abs(sample.points[:, 1] - height) < 5e-3
        assert near.sum() > 20


def test_no_layer_is_thin():
    x = np.linspace(0, 9, 100)
    for seed in range(20):
        low, high = draw_interfaces(np.random.default_rng(seed), 1.0)
        assert min(low(x).min(), (high(x) - low(x)).min(), (9 - high(x)).min()) > 0.89


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1.0}, "size is -1.0, but it must be a number above 0"),
        ({"contrast": 0.5}, "contrast is 0.5, but it must be at least 1"),
        ({"amplitude": -0.1}, "amplitude is -0.1, but it must be at least 0"),
        ({"amplitude": 9.0}, "amplitude of 9.0 leave layers thinner than 0.9: choose a smaller"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        heat(np.random.default_rng(0), **options)
