"""What a loader of interactions (clicks, ratings, installs) yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["InteractionsBatch"]


@dataclass(eq=False)
class InteractionsBatch(TensorBatch):
    """B rows of a table: ids of categories, lists of ids, numbers, and what came of them.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        categorical: (B, n) int64, ids of single-valued features; 0 = unknown.
        labels: (B, T) float32, 0 or 1; NaN where nothing is known of a task; (B, 0) without any.
        dense: (B, m) float32, numbers as the model's normaliser takes them; None without any.
        values: (V,) int64, ids of all multi-valued features: those of the first row, feature by
            feature, then those of the second; None without such features.
        lengths: (B, k) int64, how many of `values` each row and feature has.
        group: (B,) int64, number of the user or query that a row belongs to, for figures by group;
            -1 where it is missing; empty without groups.
        index: (B,) int64, the number of each row in its split.
    """

    categorical: Tensor
    labels: Tensor
    dense: Tensor | None = None
    values: Tensor | None = None
    lengths: Tensor | None = None
    group: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.categorical)

    def inputs(self) -> dict[str, Tensor]:
        """What a network of rankers is called with."""
        given = {
            name: getattr(self, name) for name in ("categorical", "dense", "values", "lengths")
        }
        return {name: value for name, value in given.items() if value is not None}

    def parts(self, size: int) -> Iterator[Self]:
        """The rows in batches of `size`, the last one smaller."""
        ends = None if self.lengths is None else self.lengths.sum(1).cumsum(0)
        for start in range(0, len(self), size):
            own = slice(start, min(start + size, len(self)))
            found = {n: v[own] for n, v in vars(self).items() if v is not None and len(v)}
            if self.values is not None and ends is not None:
                first = int(ends[start - 1]) if start else 0
                found["values"] = self.values[first : int(ends[own.stop - 1])]
            yield replace(self, **found)
