"""Dropout as a module, with cheap masks on CPUs."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from surform.attention.dropping import dropout

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """`nn.Dropout` whose masks cost a fraction on CPUs (see `surform.attention.dropping`)."""

    def forward(self, input: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return dropout(input, self.p) if self.training and self.p else input
