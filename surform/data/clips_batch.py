"""What a loader of audio clips yields."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["ClipBatch"]


@dataclass(eq=False)
class ClipBatch(TensorBatch):
    """Log-mel spectrograms of clips, with what is heard in them.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        spectrograms: `(B, frames, mel_bins)`, natural logarithms, not normalised.
        targets: `(B,)` int64, numbers of classes; `(B, K)`, 1 for each class that is heard, where
            clips have several; or empty where nothing is known.
        index: `(B,)` int64, the number of each sample in its split.
    """

    spectrograms: Tensor
    targets: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of clips in the batch."""
        return len(self.spectrograms)
