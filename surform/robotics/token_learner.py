"""TokenLearner: a few tokens from many (Ryoo et al., 2021, arXiv 2106.11297)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["TokenLearner"]


class TokenLearner(nn.Module):
    """Each new token is a mean of all the old ones, weighted by what two linear maps see in them.

    (b, n, dim) -> (b, tokens, dim).
    """

    def __init__(self, dim: int, tokens: int = 8, bottleneck: int = 64) -> None:
        super().__init__()
        at_least(1, dim=dim, tokens=tokens, bottleneck=bottleneck)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.hidden = nn.Linear(dim, bottleneck)
        self.out = nn.Linear(bottleneck, tokens)

    def weights(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b k n"]:
        """Of the old tokens in each new one; they add up to 1."""
        hidden = F.gelu(self.hidden(self.norm(x)), approximate="tanh")
        return torch.softmax(self.out(hidden).transpose(1, 2), -1)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b k d"]:
        return self.weights(x) @ x
