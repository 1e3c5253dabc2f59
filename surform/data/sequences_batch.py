"""What a loader of sequences yields."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["SequenceBatch"]


@dataclass(eq=False)
class SequenceBatch(TensorBatch):
    """Sequences of tokens, or pairs of them, with the class of each.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        tokens: `(B, n)`, or `(B, 2, n)` of pairs, int64; 0 behind the last token. n is the length
            of the longest sequence of the batch.
        targets: `(B,)` int64, numbers of classes; empty where nothing is known.
        index: `(B,)` int64, the number of each sequence, or pair, in its split.
    """

    tokens: Tensor
    targets: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of sequences, or pairs, in the batch."""
        return len(self.tokens)
