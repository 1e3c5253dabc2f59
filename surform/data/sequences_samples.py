"""The sequences of one split as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from surform.data.sequences_batch import SequenceBatch
from surform.data.sequences_source import SequenceSource

__all__ = ["SequenceSamples"]


class SequenceSamples:
    """Batches of a split.

    Args:
        numbers: of the split's samples in the source.
        length: tokens after which sequences are cut.
    """

    def __init__(self, source: SequenceSource, numbers: np.ndarray, length: int) -> None:
        self.source, self.numbers, self.length = source, numbers, length

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> SequenceBatch:
        index = np.asarray(asked)
        numbers, labels = self.numbers[index], self.source.labels
        return SequenceBatch(
            tokens=torch.from_numpy(self.source.read(numbers, self.length)),
            targets=torch.from_numpy(labels[numbers] if len(labels) else labels),
            index=torch.from_numpy(index.astype(np.int64)),
        )

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """The number of each sequence in the data."""
        return {"sequence": [int(self.numbers[n]) for n in index.tolist()]}
