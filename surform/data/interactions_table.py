"""Encoded rows of a table of interactions, packed, and batches of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch

from surform.data.interactions_batch import InteractionsBatch

__all__ = ["InteractionsTable", "joined"]


@dataclass
class InteractionsTable:
    """N encoded rows.

    Args:
        categorical: (N, n) int32 ids.
        labels: (N, T) float32, 0 or 1, NaN where unknown.
        dense: (N, m) float32, transformed, not standardised; None without any.
        values: (V,) int32 ids of multi-valued features, row by row, in a row feature by feature.
        lengths: (N, k) int32, how many of them each row and feature has; None without any.
        group: (N,) int64, the same number for rows of one group; (0,) without any.
    """

    categorical: np.ndarray
    labels: np.ndarray
    dense: np.ndarray | None = None
    values: np.ndarray | None = None
    lengths: np.ndarray | None = None
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.categorical)

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        arrays = (getattr(self, item.name) for item in fields(self))
        return sum(array.nbytes for array in arrays if array is not None)

    def rows(self, numbers: np.ndarray | slice) -> InteractionsTable:
        """Some rows, in the order of their numbers."""
        return InteractionsTable(
            categorical=self.categorical[numbers],
            labels=self.labels[numbers],
            dense=None if self.dense is None else self.dense[numbers],
            values=None if self.values is None else self.values[self._places(numbers)],
            lengths=None if self.lengths is None else self.lengths[numbers],
            group=self.group[numbers] if len(self.group) else self.group,
        )

    def batch(self, numbers: np.ndarray | slice, index: np.ndarray) -> InteractionsBatch:
        """Some rows as tensors; `index` is what they are numbered by in their split."""
        found = self.rows(numbers)
        whole = {name: _tensor(getattr(found, name)) for name in ("values", "lengths")}
        return InteractionsBatch(
            categorical=torch.from_numpy(found.categorical.astype(np.int64)),
            labels=torch.from_numpy(np.ascontiguousarray(found.labels)),
            dense=None if found.dense is None else torch.from_numpy(found.dense),
            group=torch.from_numpy(np.ascontiguousarray(found.group)),
            index=torch.from_numpy(np.asarray(index, dtype=np.int64)),
            **whole,
        )

    def _places(self, numbers: np.ndarray | slice) -> np.ndarray | slice:
        """Where the values of some rows lie, one after the other."""
        bounds = self._bounds
        if isinstance(numbers, slice):
            first, end, _ = numbers.indices(len(self))
            return slice(int(bounds[first]), int(bounds[max(first, end)]))
        starts, ends = bounds[numbers], bounds[numbers + 1]
        counts = ends - starts
        before = np.cumsum(counts) - counts
        return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))

    @cached_property
    def _bounds(self) -> np.ndarray:
        """Where the values of each row begin, and the end."""
        assert self.lengths is not None
        return np.concatenate([[0], np.cumsum(self.lengths.sum(1), dtype=np.int64)])


def joined(tables: Sequence[InteractionsTable]) -> InteractionsTable:
    """Tables one after the other; at least one."""
    if len(tables) == 1:
        return tables[0]
    parts: dict[str, Any] = {}
    for item in fields(InteractionsTable):
        own = [getattr(table, item.name) for table in tables]
        parts[item.name] = None if own[0] is None else np.concatenate(own)
    return InteractionsTable(**parts)


def _tensor(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array.astype(np.int64))
