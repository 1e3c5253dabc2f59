"""DLinear: one linear map of the trend and one of the rest; transformers must beat it."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least

__all__ = ["DLinear", "moving_average"]


class DLinear(nn.Module):
    """Moving average and remainder, each mapped linearly from look-back to horizon.

    Zeng, Chen, Zhang, Xu, "Are Transformers Effective for Time Series Forecasting?" (2023),
    arXiv 2205.13504. The maps are shared by all variates, so their number is free. It sees the
    history alone: covariates are taken, so that it can stand beside models that use them, and not
    looked at.

    Args:
        lookback: steps given (L).
        horizon: steps forecast (H).
        kernel_size: width of the moving average, in steps.
    """

    covariates: ClassVar[tuple[str, ...]] = ("known", "static")

    @record_arguments
    def __init__(self, *, lookback: int, horizon: int, kernel_size: int = 25) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.trend = nn.Linear(lookback, horizon)
        self.remainder = nn.Linear(lookback, horizon)

    def forward(
        self,
        history: Float[Tensor, "b l v"],
        *,
        known: Float[Tensor, "b t k"] | None = None,
        static: Float[Tensor, "b s"] | None = None,
    ) -> Float[Tensor, "b h v"]:
        """The forecast, in the units of `history`."""
        series = history.transpose(1, 2)
        trend = moving_average(series, self.kernel_size)
        return (self.trend(trend) + self.remainder(series - trend)).transpose(1, 2)


def moving_average(series: Float[Tensor, "*b l"], width: int) -> Float[Tensor, "*b l"]:
    """Centred mean of `width` values, the first and last value repeated beyond the ends."""
    before = (width - 1) // 2
    first = series[..., :1].expand(*series.shape[:-1], before)
    last = series[..., -1:].expand(*series.shape[:-1], width - 1 - before)
    padded = torch.cat((first, series, last), -1)
    return F.avg_pool1d(padded.flatten(0, -2)[:, None], width, stride=1)[:, 0].view_as(series)
