"""Cross-entropy against probabilities, with label smoothing."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from surform.layers.checks import fraction
from surform.training.prediction import Prediction

__all__ = ["CrossEntropy"]


class CrossEntropy(nn.Module):
    """-sum_k t_k log softmax(output)_k, averaged over the batch; targets are probabilities.

    Args:
        smoothing: share of each target that is spread over all classes, in training only (Szegedy
            et al., arXiv 1512.00567); mixed targets are smoothed alike.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        fraction(smoothing=smoothing)
        self.smoothing = smoothing

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss [nats]; output: logits (B, K), target: probabilities (B, K)."""
        found = prediction.float()
        target = found.target
        if self.training and self.smoothing:
            target = target * (1 - self.smoothing) + self.smoothing / target.shape[-1]
        return -(target * F.log_softmax(found.output, -1)).sum(-1).mean()

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"
