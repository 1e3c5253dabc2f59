"""CARD's attention block: over a sequence and over hidden features (arXiv 2305.12095, 3.1-3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.attention import softmax
from surform.attention.rows import softmax_rows
from surform.forecasting.card_smoothing import Smoothing
from surform.layers.dropout import Dropout

__all__ = ["CardAttention", "FlatNorm", "blend"]


class CardAttention(nn.Module):
    """Mixes sequences `(b, n, s, dim)` along s; the n sequences of a sample do not meet.

    Queries and keys are smoothed along the sequence; a second attention runs over the hidden
    features of each head. Both softmaxes are sharp: their scores are multiplied, not divided, by
    the square root of the length of the products that they are, as published.

    Args:
        hidden: width of the two feed-forward maps.
        smoothing: the smoothing of queries and keys.
        merge: neighbouring positions of a head that meet in one token; divides `heads`.
        rank: attend to so many learned summaries of the sequence ("dynamic projection") in place
            of its own positions; None = to the positions.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        smoothing: Smoothing,
        *,
        dropout: float,
        merge: int,
        momentum: float,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.width, self.merge = heads, dim // heads, merge
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.smoothing = smoothing
        self.summarize_keys = None if rank is None else nn.Linear(self.width, rank)
        self.summarize_values = None if rank is None else nn.Linear(self.width, rank)
        self.feed_forward = PairFeedForward(dim, hidden, dropout, momentum)
        self.norm = FlatNorm(dim, momentum)

    def forward(self, x: Float[Tensor, "b n s c"]) -> Float[Tensor, "b n s c"]:
        b, n, s, _ = x.shape
        qkv = self.qkv(x).view(b * n, s, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.contiguous().unbind(0)  # (bn, h, s, e) each
        drop = self.dropout if self.training else 0.0
        along = blend(self._over_positions(q, k, v, drop), self.merge)
        # features are the tokens and positions the width: (bn, h, e, s)
        turned = (y.transpose(-2, -1) for y in (q, k, v))
        within = softmax(*turned, scale=s**0.5, dropout_p=drop).transpose(-2, -1)
        return self.norm(x + self.feed_forward(along, blend(within, self.merge)).view(x.shape))

    def _over_positions(
        self,
        q: Float[Tensor, "bn h s e"],
        k: Float[Tensor, "bn h s e"],
        v: Float[Tensor, "bn h s e"],
        drop: float,
    ) -> Float[Tensor, "bn h s e"]:
        if self.summarize_keys is not None and self.summarize_values is not None:
            k, v = _summaries(self.summarize_keys, k), _summaries(self.summarize_values, v)
        q, k = self.smoothing(q), self.smoothing(k)
        return softmax(q, k, v, scale=self.width**0.5, dropout_p=drop)


class PairFeedForward(nn.Module):
    """The sum of two feed-forward maps with inputs of their own, each normalised over the batch."""

    def __init__(self, dim: int, hidden: int, dropout: float, momentum: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.norms = nn.ModuleList(FlatNorm(dim, momentum) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(dim, hidden) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(hidden, dim) for _ in range(2))

    def forward(
        self, first: Float[Tensor, "b s c"], second: Float[Tensor, "b s c"]
    ) -> Float[Tensor, "b s c"]:
        return self._one(0, first) + self._one(1, second)

    def _one(self, index: int, x: Tensor) -> Tensor:
        hidden = F.gelu(self.up[index](self.norms[index](x)))
        return self.down[index](self.dropout(hidden))


class FlatNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis (..., s, c), over all others; no transposed copies.

    In float64, in which digits are compared, it rounds as the official (b, c, s) form does: torch
    evaluates that in another order, and CARD's softmaxes amplify the difference ten-thousandfold.
    """

    def __init__(self, dim: int, momentum: float) -> None:
        super().__init__(dim, momentum=momentum)

    def forward(self, input: Float[Tensor, "*b s c"]) -> Float[Tensor, "*b s c"]:
        if input.dtype == torch.float64:
            tokens = input.reshape(-1, *input.shape[-2:]).transpose(1, 2)
            return super().forward(tokens).transpose(1, 2).reshape(input.shape)
        return super().forward(input.reshape(-1, input.shape[-1])).view(input.shape)


def blend(x: Float[Tensor, "b h s e"], merge: int) -> Float[Tensor, "b s c"]:
    """Heads joined into tokens `(b, s, h * e)`, `merge` neighbouring positions in each.

    The h * s vectors of a sample, counted head by head, are cut into groups of `merge` and dealt
    out: token p takes the p-th group of every set of `merge` heads. merge 1 joins heads as usual.
    """
    b, h, s, e = x.shape
    groups = x.reshape(b, h // merge, s, merge, e)
    return groups.permute(0, 2, 3, 1, 4).reshape(b, s, h * e)


def _summaries(weigh: nn.Module, x: Float[Tensor, "b h s e"]) -> Float[Tensor, "b h r e"]:
    """Each position is shared out among the r summaries; they sum over positions as published."""
    return softmax_rows(weigh(x)).transpose(-2, -1) @ x
