"""The jets of one split as a data set of whole batches, and their order in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from surform.data.jets_batch import JetBatch
from surform.data.jets_source import JetSource
from surform.data.order import BatchOrder

__all__ = ["JetSamples", "PooledOrder"]

_POOL = 32  # blocks whose jets are mixed with one another


class JetSamples:
    """Batches of a split.

    Args:
        numbers: of the split's jets in the source.
    """

    def __init__(
        self, source: JetSource, numbers: np.ndarray, dtype: torch.dtype = torch.float32
    ) -> None:
        self.source, self.numbers, self.dtype = source, numbers, dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> JetBatch:
        index = np.asarray(asked)
        numbers = self.numbers[index]
        source, densities = self.source, self.source.log_densities
        return JetBatch(
            particles=torch.from_numpy(source.read(numbers)).to(self.dtype),
            targets=torch.from_numpy(source.labels[numbers] if source.labelled else source.labels),
            log_densities=None if densities is None else torch.from_numpy(densities[numbers]),
            index=torch.from_numpy(index.astype(np.int64)),
        )

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """The number of each jet in the data."""
        return {"jet": [int(self.numbers[n]) for n in index.tolist()]}


class PooledOrder(BatchOrder):
    """A `BatchOrder` of data that do not fit into memory: few blocks are in use at a time.

    Blocks come in random order; jets are mixed within so many of them at a time.
    """

    def sequence(self, epoch: int) -> np.ndarray:
        """All jets in the order in which they are cut into joint batches."""
        if not self.training or self.blocks is None:
            return super().sequence(epoch)
        generator = np.random.default_rng([self.seed, epoch])
        _, block = np.unique(self.blocks, return_inverse=True)
        pool = generator.permutation(int(block.max()) + 1)[block] // _POOL
        return np.lexsort((generator.permutation(len(block)), pool))
