"""The trunk of HPT, which all robots share: pre-norm blocks whose attention has one learned key.

Wang et al., 2024 (arXiv 2409.20537); official code liruiw/HPT@549433f.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.attends import Softmax
from surform.layers.checks import at_least
from surform.layers.drop_path import DropPath, drop_rates
from surform.layers.feed_forward import FeedForward
from surform.layers.multihead import SelfAttention, merge_heads, split_heads

__all__ = ["Trunk", "TrunkBlock"]

_EPS = 1e-6


class ExtraKeyAttention(SelfAttention):
    """Self-attention over the tokens and one more learned key with its value."""

    def __init__(self, dim: int, heads: int) -> None:
        if dim % heads:
            raise ValueError(f"dim is {dim}, but must be a multiple of heads = {heads}")
        super().__init__(dim, heads, Softmax())
        self.extra = nn.Parameter(torch.empty(2, dim))  # key, value
        nn.init.xavier_normal_(self.extra)

    def attended(self, qkv: Float[Tensor, "b n p"]) -> Float[Tensor, "b n c"]:  # type: ignore[override]
        q, k, v = split_heads(qkv, 3, self.heads)
        extra = self.extra.reshape(2, 1, self.heads, 1, -1).expand(-1, q.shape[0], -1, -1, -1)
        k, v = torch.cat((k, extra[0]), 2), torch.cat((v, extra[1]), 2)
        return self.out(merge_heads(self.attend(q, k, v)))


class TrunkBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): (b, n, dim) -> same."""

    def __init__(self, dim: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, _EPS), nn.LayerNorm(dim, _EPS)
        self.attention = ExtraKeyAttention(dim, heads)
        self.feed_forward = FeedForward(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x = self.drop_path.add(x, lambda y: self.attention(self.norm1(y)))
        return self.drop_path.add(x, lambda y: self.feed_forward(self.norm2(y)))


class Trunk(nn.Module):
    """Blocks one after the other, no norm at the end; `drop_path` grows linearly with depth."""

    def __init__(self, dim: int, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        at_least(1, dim=dim, depth=depth, heads=heads)
        rates = drop_rates(drop_path, depth)
        self.blocks = nn.ModuleList(TrunkBlock(dim, heads, rate) for rate in rates)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        for block in self.blocks:
            x = block(x)
        return x

    def freeze(self, blocks: int | None = None) -> None:
        """Train no weight of the first so many blocks (None: of any), and all of the others.

        Raises:
            ValueError: more blocks than there are, or fewer than none.
        """
        depth = len(self.blocks)
        count = depth if blocks is None else blocks
        if not 0 <= count <= depth:
            raise ValueError(f"blocks is {blocks}, but the trunk has {depth} to freeze")
        for number, block in enumerate(self.blocks):
            block.requires_grad_(number >= count)
