"""What a loader of demonstrations yields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["DemonstrationBatch"]


@dataclass(eq=False)
class DemonstrationBatch(TensorBatch):
    """B windows: what was seen up to a step, and what was done from then on, in the robot's units.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        actions: (B, C, A) float32, the chunk that begins with the window's last step; the last
            action is repeated beyond the end of the episode.
        mask: (B, C) bool, True = an action of the episode.
        state: (B, H, S) float32, the last H steps, oldest first; the first one of the episode is
            repeated where there are none before it. None: no numbers are observed.
        images: by camera, (B, H, height, width, 3) uint8, likewise.
        language: (B, E) float32, the embedding of what the robot is told; None: nothing.
        past: (B, H - 1, A) float32, the actions between the observations.
        seen: (B, H) bool, False where the first step is repeated.
        index: (B,) int64, the number of each window in its split.
    """

    actions: Tensor
    mask: Tensor
    seen: Tensor
    past: Tensor
    state: Tensor | None = None
    images: dict[str, Tensor] = field(default_factory=dict)
    language: Tensor | None = None
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.actions)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changed = {
            item.name: function(value)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        images = {name: function(value) for name, value in self.images.items()}
        return replace(self, images=images, **changed)
