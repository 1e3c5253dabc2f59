"""The structures of one split as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from surform.data.atoms_batch import AtomsBatch, Edges, Graph, collate, split_edges
from surform.data.atoms_source import AtomsSource
from surform.data.atoms_structure import Structure

__all__ = ["AtomsSamples", "HeldAtoms"]

_OVERHEAD = 1200  # bytes of a structure beside its atoms


class HeldAtoms:
    """Structures of a source, held in memory once they are read, up to a limit of bytes."""

    def __init__(self, source: AtomsSource, limit: float) -> None:
        self.source, self.limit = source, limit
        self.nbytes = 0
        self._held: dict[int, Structure] = {}

    def read(self, number: int) -> Structure:
        """As the source reads it."""
        found = self._held.get(number)
        if found is None:
            found = self.source.read(number)
            if self.has_room(_OVERHEAD + 57 * len(found)):
                self._held[number] = found
        return found

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be held; they count from then on."""
        fits = self.nbytes + size <= self.limit
        self.nbytes += size if fits else 0
        return fits


class AtomsSamples(Dataset[AtomsBatch]):
    """Batches of a split, with edges as a network wants them, searched once where they can be held.

    Args:
        held: what is read.
        numbers: of the split's structures in the source.
        graph: which atoms are neighbours.
    """

    def __init__(self, held: HeldAtoms, numbers: np.ndarray, graph: Graph) -> None:
        self.held, self.numbers, self.graph = held, numbers, graph
        self._edges: dict[int, Edges] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> AtomsBatch:
        structures = [self.structure(number) for number in asked]
        if all(number in self._edges for number in asked):
            known = [self._edges[number] for number in asked]
            return collate(structures, self.graph, asked, known)
        batch = collate(structures, self.graph, asked)
        for number, own in zip(asked, split_edges(batch), strict=True):
            size = _OVERHEAD + 28 * own.edge_index.shape[1]
            if number not in self._edges and self.held.has_room(size):
                self._edges[number] = own
        return batch

    def structure(self, number: int) -> Structure:
        """Structure `number` of the split."""
        return self.held.read(int(self.numbers[number]))

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """Where each structure comes from."""
        source = self.held.source
        return {"structure": [source.place(int(self.numbers[n])) for n in index.tolist()]}

    def atoms(self, progress: Callable[[float], None] = lambda done: None) -> np.ndarray:
        """The number of atoms of each structure."""
        sizes = self.held.source.sizes()
        if sizes is not None:
            return sizes[self.numbers]
        found = np.empty(len(self), np.int64)
        for number in range(len(self)):
            found[number] = len(self.structure(number))
            progress((number + 1) / len(self))
        return found

    def edges(self, progress: Callable[[float], None] = lambda done: None) -> np.ndarray:
        """The number of edges of each structure; all neighbours are searched for it."""
        found = []
        for begin in range(0, len(self), _AT_ONCE):
            batch = self[range(begin, min(begin + _AT_ONCE, len(self)))]
            of_each = batch.batch[batch.edge_index[1]]
            found.append(torch.bincount(of_each, minlength=len(batch)).numpy())
            progress(min(begin + _AT_ONCE, len(self)) / len(self))
        return np.concatenate(found)


_AT_ONCE = 64
