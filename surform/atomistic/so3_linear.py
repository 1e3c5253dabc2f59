"""Linear maps of equivariant features: one matrix per degree, the same for all of its orders."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SO3Linear"]


class SO3Linear(nn.Module):
    """(N, (lmax + 1)^2, in) -> (N, (lmax + 1)^2, out); only degree 0 has a bias."""

    def __init__(self, lmax: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.weight = nn.Parameter(torch.empty(lmax + 1, out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.uniform_(self.weight, -1 / math.sqrt(in_channels), 1 / math.sqrt(in_channels))

    def forward(self, x: Float[Tensor, "n s i"]) -> Float[Tensor, "n s o"]:
        rows = [x[:, l * l : (l + 1) ** 2] @ self.weight[l].t() for l in range(1, self.lmax + 1)]
        return torch.cat((self.scalar(x[:, 0])[:, None], *rows), dim=1)

    def scalar(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """What becomes of degree 0."""
        return nn.functional.linear(x, self.weight[0], self.bias)

    def vector(self, x: Float[Tensor, "n 3 i"]) -> Float[Tensor, "n 3 o"]:
        """What becomes of degree 1."""
        return x @ self.weight[1].t()
