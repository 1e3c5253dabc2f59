"""Fastformer: a post-norm encoder of additive attention, and the pooling of its tokens.

Wu et al., "Fastformer: Additive Attention Can Be All You Need", 2021 (arXiv 2108.09084); official
code wuch15/Fastformer@84cc859f6dfb.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.additive_attention import AdditiveAttention
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction
from surform.layers.dropout import Dropout
from surform.layers.postnorm_encoder import EncoderLayer

__all__ = ["Fastformer", "WeightPooling"]

_EPS = 1e-12  # of the norms
_EMPTY = 1e-8  # beside the sum of the pooling's weights


class WeightPooling(nn.Module):
    """The mean of the tokens by weights exp(score), (b, n, dim) -> (b, dim).

    The official code takes exp of the scores as they are, which may overflow; here the largest one
    above 0 is taken off first, which changes nothing else.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(dim, dim), nn.Linear(dim, 1)

    def forward(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b c"]:
        """mask: True = keep. Without any kept token the result is zero."""
        scores = self.score(torch.tanh(self.hidden(x))).squeeze(-1)
        shift = scores.detach().amax(-1, keepdim=True).clamp(min=0)
        weights = (scores - shift).exp()
        if mask is not None:
            weights = weights * mask
        share = weights / (weights.sum(-1, keepdim=True) + _EMPTY * (-shift).exp())
        return (share.unsqueeze(1) @ x).squeeze(1)


class Fastformer(nn.Module):
    """Token vectors (b, n, dim) -> one vector of the sequence (b, dim).

    Wu et al., 2021 (arXiv 2108.09084). Linear in the number of tokens.

    Args:
        length: most tokens of a sequence: positions are learned.
        mlp_ratio: width of the feed-forward block over `dim`.
        dropout: of the tokens, of the attention's output and of the feed-forward block.
    """

    @record_arguments
    def __init__(
        self,
        length: int = 512,
        dim: int = 256,
        depth: int = 2,
        heads: int = 16,
        mlp_ratio: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        at_least(1, length=length, dim=dim, heads=heads)
        at_least(0, depth=depth)
        fraction(dropout=dropout)
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio}, which leaves no hidden channel of {dim}")
        self.positions = nn.Embedding(length, dim)
        self.norm, self.dropout = nn.LayerNorm(dim, eps=_EPS), Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(_Projected(dim, heads), dim, hidden, dropout=dropout, norm_eps=_EPS)
            for _ in range(depth)
        )
        self.pool = WeightPooling(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b c"]:
        """mask: True = keep.

        Raises:
            ValueError: tokens of another width, or more of them than there are positions.
        """
        length, dim = self.positions.weight.shape
        if x.ndim != 3 or x.shape[2] != dim or x.shape[1] > length:
            raise ValueError(
                f"tokens have shape {tuple(x.shape)}, but Fastformer takes (batch, at most "
                f"{length} tokens, {dim})"
            )
        x = self.dropout(self.norm(x + self.positions.weight[: x.shape[1]]))
        for layer in self.layers:
            x = layer(x, mask=mask)
        return self.pool(x, mask)


class _Projected(nn.Module):
    """Additive attention with one more linear map behind it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.mixing = AdditiveAttention(dim, heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.mixing(x, mask=mask))
