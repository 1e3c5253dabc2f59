"""Binary cross-entropy of several labels, of which some may be unknown."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.training.prediction import Prediction

__all__ = ["BinaryCrossEntropy"]


class BinaryCrossEntropy(nn.Module):
    """The sum over labels of -t log p - (1 - t) log(1 - p), each averaged where it is known [nats].

    Args:
        weights: of the labels; () = 1 each.
    """

    def __init__(self, weights: tuple[float, ...] = ()) -> None:
        super().__init__()
        if any(not weight >= 0 for weight in weights):
            raise ValueError(f"weights is {weights}, but weights must not be negative")
        self.weights = tuple(weights)

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss; output: logits (B, T), target: 0 or 1, weight: (B, T), 0 where unknown."""
        found = prediction.float()
        labels = found.output.shape[-1]
        if self.weights and len(self.weights) != labels:
            raise ValueError(f"the loss has {len(self.weights)} weights for {labels} labels")
        known = torch.ones_like(found.output) if found.weight is None else found.weight
        terms = F.binary_cross_entropy_with_logits(found.output, found.target, reduction="none")
        means = (terms * known).sum(0) / known.sum(0).clamp(min=1)
        return (means * means.new_tensor(self.weights or (1.0,) * labels)).sum()

    def extra_repr(self) -> str:
        return f"weights={self.weights}"
