from __future__ import annotations

import math

import numpy as np
import pytest

from surform.data.solvers.curves import Curve, circle, evenly_along, line, polygon


def test_points_along_a_curve_are_evenly_spaced_whatever_its_parameter():
    quarter = Curve("a", lambda s: np.stack([np.cos(s**2 * 1.5), np.sin(s**2 * 1.5)], axis=1), 0.1)
    points, lengths = evenly_along([quarter], [30])
    angle = np.arctan2(points[:, 1], points[:, 0])
    np.testing.assert_allclose(angle, 1.5 * (np.arange(30) + 0.5) / 30, atol=1e-5)
    np.testing.assert_allclose(lengths, 1.5 / 30, rtol=1e-5)


def test_lengths_are_quadrature_weights():
    ring = circle("ring", (1, 2), 0.5, 0.1)
    box = polygon("box", [(0, 0), (2, 0), (2, 1), (0, 1)], 1)
    points, lengths = evenly_along([ring, *box], [40] * 5)
    assert points.shape == (200, 2)
    assert lengths.sum() == pytest.approx(math.pi + 6, rel=1e-5)
    around = points[:40] - [1, 2]
    assert (lengths[:40] * around[:, 0] ** 2).sum() == pytest.approx(math.pi / 8, rel=1e-4)


def test_sides_of_a_polygon_share_their_corners_exactly():
    sides = polygon("box", [(0.1, 0.2), (1.3, 0.7), (0.9, 2.1)], 1)
    for side, following in zip(sides, [*sides[1:], sides[0]], strict=True):
        assert (side.ends()[1] == following.ends()[0]).all()


def test_closed_curves_are_told_from_open_ones():
    assert circle("ring", (0, 0), 1e-3, 1).closed()
    assert not line("a", (0, 0), (1, 1), 1).closed()
