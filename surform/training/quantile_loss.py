"""The loss of quantiles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.training.prediction import Prediction
from surform.uncertainty.scores import pinball

__all__ = ["QuantileLoss"]


class QuantileLoss(nn.Module):
    """Twice the pinball loss, averaged over levels: the median alone gives the absolute error.

    Koenker, Bassett, "Regression quantiles" (1978), doi 10.2307/1913643. It needs a network that
    gives quantiles, such as `quantiles` around any forecaster.
    """

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in the units of the target; ValueError without quantiles."""
        quantiles, target = prediction.quantiles, prediction.target
        if quantiles is None:
            raise ValueError("the loss quantile needs a network that gives quantiles")
        if quantiles.dtype in (torch.float16, torch.bfloat16):  # sums would lose digits
            quantiles = quantiles.float()
        return 2 * pinball(quantiles, target.to(quantiles), prediction.levels).mean()
