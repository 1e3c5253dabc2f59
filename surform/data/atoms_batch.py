"""What a loader of structures of atoms yields: one graph of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surform.data.atoms_neighbors import neighbor_list
from surform.data.atoms_structure import Structure
from surform.data.tensor_batch import TensorBatch

__all__ = ["AtomsBatch", "Edges", "Graph", "collate", "split_edges"]


@dataclass(frozen=True)
class Graph:
    """Which atoms are neighbours: what a network says by its arguments of the same names.

    cutoff: [Å]. max_neighbors: the nearest so many of each atom; None: all. tolerant: see
    `neighbor_list`.
    """

    cutoff: float
    max_neighbors: int | None = None
    tolerant: bool = False


class Edges(NamedTuple):
    """Neighbours of atoms: edge_index (2, E) int64 and shifts (E, 3) float32 [Å]."""

    edge_index: Tensor
    shifts: Tensor


@dataclass(eq=False)
class AtomsBatch(TensorBatch):
    """B structures of N atoms together, with E edges between neighbours.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`. Energies
    stay in float64: those of whole molecules need more digits than float32 has.

    Args:
        numbers: (N,) int64, atomic numbers.
        positions: (N, 3) float32 [Å].
        batch: (N,) int64, the structure of each atom, rising.
        cell: (B, 3, 3) float32 [Å], rows are lattice vectors; zeros where there are none.
        pbc: (B, 3) bool, which of them a structure is repeated along.
        energy: (B,) float64 [eV], as the data give it; NaN where unknown.
        forces: (N, 3) float32 [eV/Å]; NaN where unknown.
        stress: (B, 3, 3) float32 [eV/Å^3]; NaN where unknown.
        free: (N,) bool; False: held fixed, and left out of losses and scores of forces.
        edge_index: (2, E) int64, sources and targets, ordered by target.
        shifts: (E, 3) float32 [Å], where the source's image lies from the source.
        index: (B,) int64, the number of each structure in its split.
    """

    numbers: Tensor
    positions: Tensor
    batch: Tensor
    cell: Tensor
    pbc: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    free: Tensor
    edge_index: Tensor
    shifts: Tensor
    index: Tensor

    def __len__(self) -> int:
        """The number of structures."""
        return len(self.energy)


def collate(
    structures: Sequence[Structure],
    graph: Graph,
    index: Sequence[int] | None = None,
    edges: Sequence[Edges] | None = None,
) -> AtomsBatch:
    """Lay structures one after the other and find neighbours within each.

    Args:
        index: the number of each structure in its split; default 0, 1, ...
        edges: those of each structure, where they are known already.

    Raises:
        ValueError: no structures; positions or cells that make no sense, and of which structure.
    """
    if not structures:
        raise ValueError("a batch needs at least one structure")
    positions = torch.from_numpy(np.concatenate([s.positions for s in structures]))
    cell = torch.from_numpy(np.stack([s.cell for s in structures]))
    pbc = torch.from_numpy(np.stack([s.pbc for s in structures]))
    counts = torch.tensor([len(s) for s in structures])
    batch = torch.repeat_interleave(torch.arange(len(structures)), counts)
    if edges is None:
        edge_index, shifts = _searched(structures, positions, graph, cell, pbc, batch)
    else:
        first = (counts.cumsum(0) - counts).tolist()
        edge_index = torch.cat([one.edge_index + n for one, n in zip(edges, first, strict=True)], 1)
        shifts = torch.cat([one.shifts for one in edges])
    return AtomsBatch(
        numbers=torch.from_numpy(np.concatenate([s.numbers for s in structures])),
        positions=positions.float(),
        batch=batch,
        cell=cell.float(),
        pbc=pbc,
        energy=torch.tensor([s.energy for s in structures], dtype=torch.float64),
        forces=torch.from_numpy(np.concatenate([s.forces for s in structures])).float(),
        stress=torch.from_numpy(np.stack([s.stress for s in structures])).float(),
        free=torch.from_numpy(np.concatenate([s.free for s in structures])),
        edge_index=edge_index,
        shifts=shifts,
        index=torch.as_tensor(range(len(structures)) if index is None else index),
    )


def split_edges(batch: AtomsBatch) -> list[Edges]:
    """The edges of each structure of a batch; clones, which do not hold the whole."""
    atoms = torch.bincount(batch.batch, minlength=len(batch))
    counts = torch.bincount(batch.batch[batch.edge_index[1]], minlength=len(batch)).tolist()
    parts = zip(
        batch.edge_index.split(counts, 1),
        batch.shifts.split(counts),
        (atoms.cumsum(0) - atoms).tolist(),
        strict=True,
    )
    return [Edges(own - first, shifts.clone()) for own, shifts, first in parts]


def _searched(
    structures: Sequence[Structure],
    positions: Tensor,
    graph: Graph,
    cell: Tensor,
    pbc: Tensor,
    batch: Tensor,
) -> Edges:
    try:
        return _neighbors(positions, graph, cell, pbc, batch)
    except ValueError:
        for structure in structures:
            _check_graph(structure, graph)
        raise


def _check_graph(structure: Structure, graph: Graph) -> None:
    """ValueError unless the neighbours of a structure's atoms can be found."""
    positions, cell, pbc = map(
        torch.from_numpy, (structure.positions, structure.cell[None], structure.pbc[None])
    )
    batch = torch.zeros(len(structure), dtype=torch.int64)
    try:
        _neighbors(positions, graph, cell, pbc, batch)
    except ValueError as error:
        text = str(error).replace("of structure 0 ", "")
        raise ValueError(f"{structure.where}: {text}") from error


def _neighbors(positions: Tensor, graph: Graph, cell: Tensor, pbc: Tensor, batch: Tensor) -> Edges:
    found = neighbor_list(
        positions,
        graph.cutoff,
        cell=cell,
        pbc=pbc,
        batch=batch,
        max_neighbors=graph.max_neighbors,
        tolerant=graph.tolerant,
    )
    return Edges(found.edge_index, found.shifts.float())
