"""The causal transformer with ReLU attention of "Transformers as Decision Makers".

Lin, Bai, Mei, 2023 (arXiv 2310.08566). One head of full width, no 1/sqrt(d), no output map; norms
after each part, none at the end.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.decisions.key_values import KeyValues, Remember
from surform.layers.feed_forward import FeedForward
from surform.layers.multihead import split_heads

__all__ = ["ReLUBackbone"]


class ReLUBackbone(nn.Module):
    """Embedded tokens (b, n, dim) -> (b, n, dim); n up to `positions`.

    Args:
        dim, depth: width and number of layers.
        positions: the most tokens.
    """

    heads = 1

    def __init__(self, dim: int, depth: int, positions: int) -> None:
        super().__init__()
        self.dim, self.depth, self.room = dim, depth, positions
        self.positions = nn.Parameter(torch.randn(positions, dim) * 0.02)
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(depth))

    def forward(
        self, x: Float[Tensor, "b n c"], memory: KeyValues | None = None
    ) -> Float[Tensor, "b n c"]:
        """memory: tokens that came before; the new ones are added to it."""
        past = 0 if memory is None else memory.length
        x = x + self.positions[past : past + x.shape[1]]
        for number, block in enumerate(self.blocks):
            x = block(x, None if memory is None else memory.layer(number))
        if memory is not None:
            memory.grow(x.shape[1])
        return x


class _Block(nn.Module):
    """norm1(x + attention(x)), then norm2(x + feed_forward(x))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, dim, activation="relu")

    def forward(
        self, x: Float[Tensor, "b n c"], remember: Remember | None
    ) -> Float[Tensor, "b n c"]:
        q, k, v = split_heads(self.qkv(x), 3, 1)
        if remember is not None:
            k, v = remember(k, v)
        x = self.norm1(x + attention.relu(q, k, v, causal=True)[:, 0])
        return self.norm2(x + self.feed_forward(x))
