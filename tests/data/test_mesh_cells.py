"""Measures of cells against determinants and exact integrals."""

from __future__ import annotations

import numpy as np
import pytest

from surform.data.mesh_cells import cell_dimension, cell_measures, node_measures
from tests.data.point_files import grid_mesh

CUBE = np.array(
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float
)


@pytest.mark.parametrize(
    ("kind", "nodes", "measure"),
    [
        ("tetra", [0, 1, 3, 4], 1 / 6),
        ("pyramid", [0, 1, 2, 3, 4], 1 / 3),
        ("wedge", [0, 1, 2, 4, 5, 6], 1 / 2),
        ("hexahedron", range(8), 1),
    ],
)
def test_volumes_grow_with_the_determinant_of_a_map(kind: str, nodes, measure: float) -> None:
    draw = np.random.default_rng(0)
    for _ in range(3):
        map_ = draw.standard_normal((3, 3))
        cells = np.array([list(nodes)])
        found = cell_measures(CUBE @ map_, kind, cells)
        assert found == pytest.approx(measure * abs(np.linalg.det(map_)))


def test_areas_and_lengths() -> None:
    square = np.array([[0, 1, 2, 3]])
    assert cell_measures(CUBE, "quad", square) == pytest.approx(1)
    assert cell_measures(CUBE, "triangle", square[:, :3]) == pytest.approx(0.5)
    assert cell_measures(CUBE, "line", np.array([[0, 6]])) == pytest.approx(np.sqrt(3))
    arrow = np.array([[0, 0, 0], [2, 0, 0], [0.5, 0.5, 0], [0, 2, 0]])  # not convex
    assert cell_measures(arrow, "quad", square) == pytest.approx(1)
    assert cell_measures(CUBE, "vertex", np.array([[2]])) == pytest.approx(0)


def test_cells_with_nodes_on_their_edges_are_taken_by_their_corners() -> None:
    nodes = np.array([[0, 1, 3, 5, 6, 7]])
    assert cell_measures(CUBE, "triangle6", nodes) == pytest.approx(0.5)
    assert cell_dimension("hexahedron20") == 3
    assert node_measures(CUBE, [("triangle6", nodes)]).sum() == pytest.approx(0.5)


def test_shares_of_triangles_integrate_linear_functions_exactly() -> None:
    points, triangles, _ = grid_mesh(5, 4, seed=1)
    weights = node_measures(np.pad(points, ((0, 0), (0, 1))), [("triangle", triangles)])
    assert weights.sum() == pytest.approx(1)
    assert (weights * (2 + 3 * points[:, 0] - points[:, 1])).sum() == pytest.approx(3)


@pytest.mark.fault
def test_a_kind_of_cell_without_a_measure() -> None:
    assert cell_dimension("polygon5") is None
    with pytest.raises(ValueError, match="cells of the kind 'polygon5' have no measure here"):
        cell_measures(CUBE, "polygon5", np.arange(5)[None])
