"""Pictures at scattered points: holes stay open, and every dimension has its kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from surform.reports.images import png
from surform.reports.meshes import _triangles, at_points


def ring(holes: bool = True) -> np.ndarray:
    """Points of a square that are dense at the rim of a round hole, and on its rim."""
    x, y = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    grid = np.stack([x.ravel(), y.ravel()], axis=-1)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rims = [r * np.stack([np.cos(angles), np.sin(angles)], -1) for r in (0.5, 0.55)]
    return np.concatenate([grid[np.hypot(*grid.T) > 0.6], *rims]) if holes else grid


def test_a_hole_is_not_drawn_over() -> None:
    points = ring()
    found = _triangles(points)
    centers = points[found.get_masked_triangles()].mean(1)
    assert np.hypot(*centers.T).min() > 0.45
    assert (
        len(found.get_masked_triangles())
        > 0.9 * (np.hypot(*points[found.triangles].mean(1).T) > 0.5).sum()
    )


def test_a_whole_domain_is_drawn_to_its_rim() -> None:
    found = _triangles(ring(holes=False))
    assert len(found.get_masked_triangles()) == len(found.triangles) == 2 * 20 * 20


def test_points_on_a_line_have_no_triangles() -> None:
    assert _triangles(np.stack([np.arange(5.0), np.arange(5.0)], -1)) is None


@pytest.mark.parametrize(
    "points",
    [
        ring(),
        ring() * [1, 0],
        np.random.default_rng(0).random((50, 3)),
        np.random.default_rng(0).random((9, 1)),
    ],
)
def test_pictures_of_every_dimension(points: np.ndarray) -> None:
    values = points[:, 0]
    figure = at_points(points, values + 0.1, values, label="u [m]", axes="xyz")
    assert len(png(figure, dpi=40)) > 2000
    titles = {axes.get_title() for axes in figure.axes}
    if points.shape[1] > 1:
        assert titles >= {"truth", "prediction", "prediction - truth"}


def test_a_slab_of_a_solid_is_drawn() -> None:
    points = np.random.default_rng(0).random((4000, 3)) * [3, 1, 2]
    figure = at_points(points, points[:, 0], points[:, 0], label="u", axes=("x", "y", "z"))
    assert figure.get_supxlabel() == "near y = 0.5"
