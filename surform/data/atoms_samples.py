"""The structures of one split as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from surform.data.atoms_batch import AtomsBatch, Graph, collate
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
            size = _OVERHEAD + 57 * len(found)
            if self.nbytes + size <= self.limit:
                self._held[number] = found
                self.nbytes += size
        return found


class AtomsSamples(Dataset[AtomsBatch]):
    """Batches of a split, with edges as a network wants them.

    Args:
        held: what is read.
        numbers: of the split's structures in the source.
        graph: which atoms are neighbours.
    """

    def __init__(self, held: HeldAtoms, numbers: np.ndarray, graph: Graph) -> None:
        self.held, self.numbers, self.graph = held, numbers, graph

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> AtomsBatch:
        return collate([self.structure(number) for number in asked], self.graph, asked)

    def structure(self, number: int) -> Structure:
        """Structure `number` of the split."""
        return self.held.read(int(self.numbers[number]))

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """Where each structure comes from."""
        source = self.held.source
        return {"structure": [source.place(int(self.numbers[n])) for n in index.tolist()]}

    def atoms(self, progress: Callable[[float], None] = lambda done: None) -> np.ndarray:
        """The number of atoms of each structure."""
        known = self.held.source.sizes()
        if known is not None:
            return known[self.numbers]
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
