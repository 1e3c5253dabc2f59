"""GPT-2's causal transformer on embedded tokens.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; as in transformers'
GPT2Model: norms before each part and at the end, tanh GELU, learned positions.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.decisions.key_values import KeyValues, Remember
from surform.layers.checks import fraction
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import FeedForward
from surform.layers.multihead import SelfAttention

__all__ = ["GPT2Backbone"]

_START = 0.02  # deviation of all weights at the start


class GPT2Backbone(nn.Module):
    """Embedded tokens (b, n, dim) -> (b, n, dim); n up to `positions`.

    Args:
        dim, depth, heads: width, number of layers, heads.
        positions: the most tokens.
        dropout: of embedded tokens, attention's weights and what each part adds.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, positions: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        fraction(dropout=dropout)
        if dim % heads:
            raise ValueError(f"dim is {dim}, but must be a multiple of heads = {heads}")
        self.dim, self.depth, self.heads, self.room = dim, depth, heads, positions
        self.positions = nn.Parameter(torch.randn(positions, dim) * _START)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        for name, weight in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif "norm" not in name:
                # what is added to the residual stream, so often, starts smaller
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=_START / math.sqrt(2 * depth) if last else _START)

    def forward(
        self, x: Float[Tensor, "b n c"], memory: KeyValues | None = None
    ) -> Float[Tensor, "b n c"]:
        """memory: tokens that came before; the new ones are added to it."""
        past = 0 if memory is None else memory.length
        x = self.dropout(x + self.positions[past : past + x.shape[1]])
        for number, block in enumerate(self.blocks):
            x = block(x, None if memory is None else memory.layer(number))
        if memory is not None:
            memory.grow(x.shape[1])
        return self.norm(x)


class _Block(nn.Module):
    """x + attention(norm1(x)), then x + feed_forward(norm2(x))."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads, _Causal(dropout))
        self.feed_forward = FeedForward(dim, 4 * dim, activation="gelu_tanh")
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b n c"], remember: Remember | None
    ) -> Float[Tensor, "b n c"]:
        x = x + self.dropout(self.attention(self.norm1(x), remember=remember))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class _Causal(nn.Module):
    """Causal softmax attention; with a memory, the queries are the last of all tokens."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, remember: Remember | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if remember is None:
            return attention.softmax(q, k, v, causal=True, dropout_p=dropout)
        k, v = remember(k, v)
        n, m = q.shape[2], k.shape[2]
        seen = None
        if n > 1:
            seen = torch.ones(n, m, dtype=torch.bool, device=q.device).tril(m - n)[None, None]
        return attention.softmax(q, k, v, mask=seen, dropout_p=dropout)
