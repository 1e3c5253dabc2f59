"""Convolution over time with three taps, the series closed to a ring, channels last."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["CircularConv"]


class CircularConv(nn.Module):
    """y_t = W (x_{t-1}, x_t, x_{t+1}) + b, steps modulo the length: (b, l, c) -> (b, l, dim).

    One linear map of the three neighbours side by side: no transposes, one matrix product. Its
    weight is (dim, 3 * channels), the tap's number before the channel's.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        at_least(1, channels=channels, dim=dim)
        self.taps = nn.Linear(3 * channels, dim)

    def forward(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b l d"]:
        before = torch.cat((x[:, -1:], x[:, :-1]), 1)
        after = torch.cat((x[:, 1:], x[:, :1]), 1)
        return self.taps(torch.cat((before, x, after), -1))
