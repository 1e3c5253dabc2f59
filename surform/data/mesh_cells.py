"""Measures of the cells of a mesh: length, area or volume, and each node's share of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["cell_dimension", "cell_measures", "node_measures"]

# Dimension of a cell, and simplices of its corners that make it up (VTK's order of corners).
_CELLS: dict[str, tuple[int, tuple[tuple[int, ...], ...]]] = {
    "vertex": (0, ()),
    "line": (1, ((0, 1),)),
    "triangle": (2, ((0, 1, 2),)),
    "quad": (2, ((0, 1, 2), (0, 2, 3))),
    "tetra": (3, ((0, 1, 2, 3),)),
    "pyramid": (3, ((0, 1, 2, 4), (0, 2, 3, 4))),
    "wedge": (3, ((0, 1, 2, 5), (0, 1, 5, 4), (0, 4, 5, 3))),
    "hexahedron": (
        3,
        ((0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)),
    ),
}


def cell_dimension(kind: str) -> int | None:
    """0 for vertices to 3 for volumes; None for kinds of cells that are not known."""
    cell = _CELLS.get(_linear(kind))
    return None if cell is None else cell[0]


def cell_measures(points: np.ndarray, kind: str, cells: np.ndarray) -> np.ndarray:
    """Length, area or volume of each cell, `(cells,)`, float64.

    Args:
        points: `(N, 3)`.
        kind: meshio's name, e.g. "triangle"; cells with nodes on their edges ("triangle6") are
            taken with straight edges.
        cells: `(cells, nodes)`, corners first.

    Raises:
        ValueError: a kind whose measure is not known.
    """
    known = _CELLS.get(_linear(kind))
    if known is None:
        raise ValueError(
            f"cells of the kind {kind!r} have no measure here (known: {', '.join(_CELLS)})"
        )
    total = sum(_measures(points, cells[:, simplex]) for simplex in known[1])
    # areas add as vectors and volumes with their sign, so that cells need not be convex
    return np.linalg.norm(np.reshape(total, (len(cells), -1)), axis=-1)


def node_measures(points: np.ndarray, blocks: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Each node's share `(N,)` of the cells around it, which divide their measure evenly.

    For linear triangles and tetrahedra these are the integrals of the nodes' hat functions.
    """
    shares = np.zeros(len(points))
    for kind, cells in blocks:
        share = cell_measures(points, kind, cells) / cells.shape[1]
        np.add.at(shares, cells, share[:, None])
    return shares


def _linear(kind: str) -> str:
    """The kind with corners only: "triangle6" -> "triangle"."""
    match = re.fullmatch(r"(line|triangle|quad|tetra|pyramid|wedge|hexahedron|vertex)\d*", kind)
    return match[1] if match else kind


def _measures(points: np.ndarray, simplices: np.ndarray) -> np.ndarray:
    """Edges `(n, 3)`, area vectors `(n, 3)` or signed volumes `(n,)` of simplices."""
    corners = points[simplices].astype(np.float64)
    edges = corners[:, 1:] - corners[:, :1]
    if edges.shape[1] == 1:
        return edges[:, 0]
    areas = np.cross(edges[:, 0], edges[:, 1]) / 2
    return areas if edges.shape[1] == 2 else (areas * edges[:, 2]).sum(-1) / 3
