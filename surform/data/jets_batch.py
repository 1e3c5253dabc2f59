"""What a loader of jets yields."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["JetBatch"]


@dataclass(eq=False)
class JetBatch(TensorBatch):
    """Jets as lists of particles, with the class of each.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        particles: `(B, P, F)`, in physical units, sorted by pT; zeros behind the last particle.
        targets: `(B,)` int64, numbers of classes; empty where nothing is known.
        log_densities: `(B, K)`, of each jet under each class, where known (generated jets).
        index: `(B,)` int64, the number of each jet in its split.
    """

    particles: Tensor
    targets: Tensor
    log_densities: Tensor | None = None
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of jets in the batch."""
        return len(self.particles)
