"""What a loader of images yields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

__all__ = ["ImageBatch"]


@dataclass(eq=False)
class ImageBatch:
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

    def map(self, function: Callable[[Tensor], Tensor]) -> ImageBatch:
        """The batch with `function` applied to every tensor."""
        return replace(
            self, **{item.name: function(getattr(self, item.name)) for item in fields(self)}
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImageBatch:
        """The batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ImageBatch:
        """The batch in page-locked memory, as data loaders ask for."""
        return self.map(lambda tensor: tensor.pin_memory())
