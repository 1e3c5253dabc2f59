"""Losses on forecasts `(B, H, V)`, time on axis 1: `loss(prediction, batch) -> scalar`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.training.prediction import Prediction

__all__ = ["MeanAbsoluteError", "SignalDecay"]


class MeanAbsoluteError(nn.Module):
    """Mean of |output - target| over everything."""

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in the units of the series."""
        return _absolute_error(prediction).mean()


class SignalDecay(nn.Module):
    """Mean of |output - target| / sqrt(t + 1), t = 0 .. H-1: far steps, known worse, count less.

    The loss of CARD (Wang et al., ICLR 2024, arXiv 2305.12095).
    """

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in the units of the series; time is axis 1 of `(B, H, ...)`."""
        error = _absolute_error(prediction)
        if error.ndim < 2:
            raise ValueError(
                f"SignalDecay needs forecasts (B, H, ...), got the shape {tuple(error.shape)}"
            )
        steps = torch.arange(1, error.shape[1] + 1, dtype=error.dtype, device=error.device)
        return (error * steps.rsqrt().view(-1, *[1] * (error.ndim - 2))).mean()


def _absolute_error(prediction: Prediction) -> Tensor:
    """Weighted |output - target|, elementwise; half precision is summed in float32."""
    prediction = prediction.float()
    return prediction.weighted((prediction.output - prediction.target).abs())
