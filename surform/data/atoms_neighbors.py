"""Neighbours of atoms within a cutoff: any mixture of structures, cells and periodic axes.

Edges go from a neighbour (source) to an atom (target); the neighbour's image lies
`offsets @ cell` away from where it is listed. Time and memory grow linearly with the number of
atoms. Where vesin is installed (`surform[atomistic]`) it searches on CPUs, with the same results.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surform.data.atoms_bins import search
from surform.data.atoms_cells import Boxes
from surform.data.atoms_limit import nearest

__all__ = ["Neighbors", "neighbor_list"]

_OVERLAP = 1e-2  # [Å]


@dataclass(frozen=True)
class Neighbors:
    """Edges, ordered by target, then source, then offset.

    edge_index: sources and targets, (2, E). offsets: in lattice vectors, (E, 3), whole numbers.
    shifts: the same [Å], (E, 3). distances: (E,) [Å]. neighbors: edges of each structure, (B,).
    """

    edge_index: Tensor
    offsets: Tensor
    shifts: Tensor
    distances: Tensor
    neighbors: Tensor


def neighbor_list(
    positions: Tensor,
    cutoff: float,
    *,
    cell: Tensor | None = None,
    pbc: Tensor | bool | None = None,
    batch: Tensor | None = None,
    max_neighbors: int | None = None,
    tolerant: bool = False,
) -> Neighbors:
    """All pairs not farther apart than the cutoff, images and an atom's own images included.

    Args:
        positions: (N, 3) [Å]; may lie outside of the cell.
        cutoff: [Å].
        cell: (3, 3) or (B, 3, 3), rows are lattice vectors [Å]; None: no axis is periodic.
        pbc: which axes are periodic, (3,) or (B, 3) or one word for all; None: all with a cell.
        batch: the structure of each atom, 0 ... B - 1, not decreasing; None: one structure.
        max_neighbors: keep the nearest so many of each atom, the first of equals; None: all.
        tolerant: beside them, keep all whose squared distance is at most 0.01 Å^2 beyond that of
            the first one cut off, so that symmetric neighbours stay together (as fairchem does with
            enforce_max_neighbors_strictly=False).

    Raises:
        ValueError: positions that are not finite, or closer than 0.01 Å; cells without volume;
            shapes that do not go together.
    """
    boxes = Boxes.of(positions, cutoff, cell, pbc, batch)
    source, target, offsets, squared = search(positions.detach(), cutoff, boxes)
    _require_apart(source, target, squared)
    order = _order(source, target, offsets, len(positions))
    if max_neighbors is not None:
        kept = nearest(target[order], squared[order], len(positions), max_neighbors, tolerant)
        order = order[kept]
    source, target, offsets, squared = (x[order] for x in (source, target, offsets, squared))
    structure = boxes.batch[target]
    lattice = boxes.cell.to(positions)[structure]
    shifts = (offsets.to(positions.dtype)[:, None] @ lattice)[:, 0]
    return Neighbors(
        edge_index=torch.stack((source, target)),
        offsets=offsets,
        shifts=shifts,
        distances=squared.sqrt(),
        neighbors=torch.bincount(structure, minlength=len(boxes.cell)),
    )


def _order(source: Tensor, target: Tensor, offsets: Tensor, atoms: int) -> Tensor:
    if not len(source):
        return source
    most = int(offsets.abs().max())
    base = 2 * most + 1
    key = target * atoms + source
    for axis in range(3):
        key = key * base + offsets[:, axis] + most
    return key.argsort()


def _require_apart(source: Tensor, target: Tensor, squared: Tensor) -> None:
    if len(squared) and float(squared.min()) < _OVERLAP**2:
        worst = int(squared.argmin())
        i, j = sorted((int(source[worst]), int(target[worst])))
        raise ValueError(
            f"atoms {i} and {j} are {float(squared[worst]) ** 0.5:.2g} Å apart, nearer than "
            f"{_OVERLAP} Å: do two atoms stand in one place, or is the cell wrong?"
        )
