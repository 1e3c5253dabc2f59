"""What a loader of images yields."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["ImageBatch"]


@dataclass(eq=False)
class ImageBatch(TensorBatch):
    """Images of one size, with what they show.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        images: `(B, C, H, W)`, uint8, which stands for 0 to 1, or float as they are.
        targets: `(B,)` int64, numbers of classes; `(B, K)`, probabilities of the classes where the
            data have such; or empty where nothing is known.
        index: `(B,)` int64, the number of each image in its split.
    """

    images: Tensor
    targets: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of images in the batch."""
        return len(self.images)
