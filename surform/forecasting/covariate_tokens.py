"""Covariates as tokens beside the variates, each embedded by weights of its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["CovariateTokens"]


class CovariateTokens(nn.Module):
    """One linear map per covariate from its `length` values to a token, (b, length, count) ->
    (b, count, dim).

    Separate maps tell a price from a holiday: tokens carry no other mark of what they stand for.
    Initialised as `nn.Linear(length, dim)`.
    """

    def __init__(self, count: int, length: int, dim: int) -> None:
        super().__init__()
        at_least(1, count=count, length=length, dim=dim)
        self.count = count
        bound = length**-0.5
        self.weight = nn.Parameter(torch.empty(count, length, dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "b l k"]) -> Float[Tensor, "b k c"]:
        return torch.einsum("blk,klc->bkc", x, self.weight) + self.bias
