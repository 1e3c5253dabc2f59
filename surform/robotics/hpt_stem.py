"""Stems of HPT: every sensor becomes a fixed number of tokens.

Wang et al., "Scaling Proprioceptive-Visual Learning with Heterogeneous Pre-trained Transformers",
2024 (arXiv 2409.20537); official code liruiw/HPT@549433f.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.attends import Softmax
from surform.layers.checks import at_least
from surform.layers.multihead import merge_heads, split_heads

__all__ = ["Queries", "Stem", "position_table", "with_positions"]


class Queries(nn.Module):
    """Learned queries attend to tokens (b, k, context): (b, count, dim); no residual, no norm.

    Args:
        heads: each of width `head_dim`.
        dropout: of the weights.
    """

    def __init__(
        self, count: int, dim: int, context: int, heads: int, head_dim: int, dropout: float
    ) -> None:
        super().__init__()
        at_least(1, tokens=count, dim=dim, stem_heads=heads, stem_head_dim=head_dim)
        self.heads, inner = heads, heads * head_dim
        self.tokens = nn.Parameter(torch.randn(count, dim) * 0.02)
        self.query = nn.Linear(dim, inner, bias=False)
        self.key_value = nn.Linear(context, 2 * inner, bias=False)
        self.out = nn.Linear(inner, dim)
        self.attend = Softmax(dropout)

    def forward(self, x: Float[Tensor, "b k c"]) -> Float[Tensor, "b n d"]:
        # the queries are the same for the whole batch: mapped once
        (q,) = split_heads(self.query(self.tokens)[None], 1, self.heads)
        k, v = split_heads(self.key_value(x), 2, self.heads)
        return self.out(merge_heads(self.attend(q.expand(x.shape[0], -1, -1, -1), k, v)))


class Stem(nn.Module):
    """Features (b, ..., width) of one sensor -> (b, count, dim).

    Positions are added to the features as they come, then each is mapped alone, and learned queries
    attend to all of them.
    """

    def __init__(
        self,
        width: int,
        count: int,
        dim: int,
        hidden: Sequence[int],
        heads: int,
        head_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        at_least(1, features=width, tokens=count)
        if not hidden:
            raise ValueError("stem_hidden is empty, but must name at least one width")
        at_least(1, **{f"stem_hidden[{i}]": each for i, each in enumerate(hidden)})
        layers: list[nn.Module] = [nn.Linear(width, hidden[0]), nn.SiLU()]
        for before, after in itertools.pairwise(hidden):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        self.width = width
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], dim))
        self.queries = Queries(count, dim, dim, heads, head_dim, dropout)

    def forward(self, x: Float[Tensor, "b *k f"]) -> Float[Tensor, "b n d"]:
        return self.queries(self.net(with_positions(x.flatten(1, -2))))


def with_positions(x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Tokens with their sinusoidal positions added."""
    # a program that is being traced must not leave its stand-ins for tensors behind
    make = position_table if torch.compiler.is_compiling() else _kept_table
    return x + make(x.shape[1], x.shape[2], x.device, x.dtype)


def position_table(
    length: int, dim: int, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "n d"]:
    """sin (even channels) and cos (odd ones) of t / 10000^(2 floor(i / 2) / dim).

    All of it in float32, as published weights were trained with.
    """
    channel = torch.arange(dim, device="cpu")
    steps = torch.arange(length, dtype=torch.float32, device="cpu")[:, None]
    powers = (2 * (channel // 2) / dim).float()
    angles = steps * (1 / torch.tensor(10000.0, dtype=torch.float32, device="cpu") ** powers)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos()).to(device, dtype)


# once for each size, device and precision
_kept_table = lru_cache(maxsize=64)(position_table)
