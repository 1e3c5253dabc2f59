"""Multi-head attention around any kind: projections, heads split and merged.

Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762), section 3.2.2. The maps that
read the same tokens are one linear map: the same numbers from fewer, larger matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["Attend", "CrossAttention", "SelfAttention", "merge_heads", "split_heads"]

# (q (b, h, n, d), k (b, h, m, d), v (b, h, m, e), **options) -> (b, h, n, e)
Attend = Callable[..., Tensor]


def split_heads(
    x: Float[Tensor, "b n p"], parts: int, heads: int
) -> tuple[Float[Tensor, "b h n d"], ...]:
    """Cut (b, n, parts * heads * d) into `parts` views of shape (b, heads, n, d)."""
    # chunks, because their gradients are put together by one copy
    return tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in x.chunk(parts, -1))


def merge_heads(x: Float[Tensor, "b h n d"]) -> Float[Tensor, "b n p"]:
    """(b, h, n, d) -> (b, n, h * d)."""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention of tokens among themselves, (b, n, dim) -> (b, n, dim).

    Args:
        attend: an `nn.Module` or a function of q, k, v and whatever options `forward` is given; it
            applies its own dropout.
        heads: each of width dim // heads; where that leaves a rest, the heads together are
            narrower than `dim`.
        mix: merge heads by reading (b, heads, n, d) in memory order as (b, n, heads * d), which
            scrambles head and token. A published habit of Informer's decoder; its weights need it.
        qkv_bias: whether queries, keys and values have a bias.
        head_dim: width of each head, where it is not dim // heads.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        attend: Attend,
        *,
        mix: bool = False,
        qkv_bias: bool = True,
        head_dim: int | None = None,
    ) -> None:
        super().__init__()
        inner = _inner_width(dim, heads) if head_dim is None else heads * head_dim
        self.heads, self.mix, self.attend = heads, mix, attend
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.out = nn.Linear(inner, dim)

    def forward(self, x: Float[Tensor, "b n c"], **options: Any) -> Float[Tensor, "b n c"]:
        return self.attended(self.qkv(x), **options)

    def attended(self, qkv: Float[Tensor, "b n p"], **options: Any) -> Float[Tensor, "b n c"]:
        """The output from queries, keys and values side by side, (b, n, 3 * heads * d)."""
        q, k, v = split_heads(qkv, 3, self.heads)
        return self.out(self._merged(self.attend(q, k, v, **options)))

    def forward_with_map(
        self, x: Float[Tensor, "b n c"], **options: Any
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b h n n"]]:
        """The output, and how much of each token's value every token took, dropout included.

        Every kind is linear in the values: attending to the unit vectors gives its weights.
        """
        q, k, v = split_heads(self.qkv(x), 3, self.heads)
        units = torch.eye(k.shape[2], dtype=k.dtype, device=k.device)
        weights = self.attend(q, k, units.expand(*k.shape[:2], -1, -1), **options)
        return self.out(self._merged(weights @ v)), weights

    def _merged(self, heads: Tensor) -> Tensor:
        return heads.reshape(heads.shape[0], heads.shape[2], -1) if self.mix else merge_heads(heads)


class CrossAttention(nn.Module):
    """Attention of tokens (b, n, dim) to others (b, m, dim) -> (b, n, dim); arguments as above."""

    def __init__(self, dim: int, heads: int, attend: Attend) -> None:
        super().__init__()
        inner = _inner_width(dim, heads)
        self.heads, self.attend = heads, attend
        self.query = nn.Linear(dim, inner)
        self.key_value = nn.Linear(dim, 2 * inner)
        self.out = nn.Linear(inner, dim)

    def forward(
        self, x: Float[Tensor, "b n c"], memory: Float[Tensor, "b m c"], **options: Any
    ) -> Float[Tensor, "b n c"]:
        (q,) = split_heads(self.query(x), 1, self.heads)
        k, v = split_heads(self.key_value(memory), 2, self.heads)
        return self.out(merge_heads(self.attend(q, k, v, **options)))


def _inner_width(dim: int, heads: int) -> int:
    at_least(1, dim=dim, heads=heads)
    if heads > dim:
        raise ValueError(f"heads is {heads}, but dim = {dim} leaves no channel for each of them")
    return dim // heads * heads
