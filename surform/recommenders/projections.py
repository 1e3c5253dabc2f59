"""Queries, keys and values of heterogeneous tokens: shared, own, composite, composite of low rank.

All take tokens first, (N, B, dim), and give heads, (B, heads, N, width), one for each of `widths`.
Columns lie head by head, so that batched products read heads where they are, without a copy.

Gui et al., 2023 (arXiv 2311.05884), sections on heterogeneous attention and Hiformer.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.recommenders.token_maps import TokenMaps

__all__ = ["Composite", "Kind", "LowRank", "Own", "Shared", "concatenated", "projections"]

Kind = Literal["shared", "feature", "composite", "lowrank"]
Heads = tuple[Float[Tensor, "b h n _w"], ...]


def projections(
    kind: Kind,
    tokens: int,
    dim: int,
    heads: int,
    key_dim: int,
    value_dim: int,
    *,
    key_rank: int,
    value_rank: int,
    queries: int | None,
) -> nn.ModuleDict:
    """The maps of a layer, named by what they give: "qkv", or "q" and "kv", or "q", "k" and "v".

    Args:
        queries: None = all tokens ask; else the last ones, by a plain map of each.
        key_rank, value_rank: for "lowrank".
    """
    widths = {"q": key_dim, "k": key_dim, "v": value_dim}
    asking = tokens if queries is None else queries
    made: dict[str, nn.Module] = {}
    if kind in ("shared", "feature"):
        for name in ("qkv",) if queries is None else ("q", "kv"):
            given = [widths[letter] for letter in name]
            own = Own(asking if name == "q" else tokens, dim, heads, *given)
            made[name] = Shared(dim, heads, *given) if kind == "shared" else own
        return nn.ModuleDict(made)
    for name, width in widths.items():
        if name == "q" and queries is not None:
            made[name] = Own(queries, dim, heads, width)
        elif kind == "composite":
            made[name] = Composite(tokens, dim, heads, width)
        else:
            rank = value_rank if name == "v" else key_rank
            made[name] = LowRank(tokens, dim, heads, width, rank)
    return nn.ModuleDict(made)


class Shared(nn.Linear):
    """One matrix for all tokens, as in the Transformer."""

    def __init__(self, dim: int, heads: int, *widths: int) -> None:
        super().__init__(dim, heads * sum(widths))
        self.heads, self.widths = heads, widths
        nn.init.normal_(self.weight, std=(2 / (dim + heads * max(widths))) ** 0.5)
        nn.init.zeros_(self.bias)

    def forward(self, input: Float[Tensor, "n b c"]) -> Heads:
        return _token_heads(super().forward(input), self.heads, self.widths)


class Own(TokenMaps):
    """A matrix per token: heterogeneous attention (HeteroAtt)."""

    def __init__(self, tokens: int, dim: int, heads: int, *widths: int) -> None:
        super().__init__(tokens, dim, heads * sum(widths))
        self.heads, self.widths = heads, widths
        nn.init.normal_(self.weight, std=(2 / (dim + heads * max(widths))) ** 0.5)

    def forward(self, x: Float[Tensor, "n b c"]) -> Heads:
        return _token_heads(super().forward(x), self.heads, self.widths)


class Composite(nn.Module):
    """One matrix from all tokens to all tokens' heads: Hiformer of full rank."""

    def __init__(self, tokens: int, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens, self.heads = tokens, heads
        self.weight = nn.Parameter(torch.empty(tokens * dim, heads * tokens * width))
        self.bias = nn.Parameter(torch.zeros(heads * tokens * width))
        nn.init.normal_(self.weight, std=(tokens * dim) ** -0.5)

    def forward(self, x: Float[Tensor, "n b c"]) -> Heads:
        made = torch.addmm(self.bias, concatenated(x), self.weight)
        return (made.unflatten(-1, (self.heads, self.tokens, -1)),)


class LowRank(nn.Module):
    """`Composite` as a product of two thin matrices: Hiformer as published.

    One pair of factors serves all heads. It saves work while rank < in * out / (in + out).
    """

    def __init__(self, tokens: int, dim: int, heads: int, width: int, rank: int) -> None:
        super().__init__()
        at_least(1, rank=rank)
        self.tokens, self.heads = tokens, heads
        self.left = nn.Parameter(torch.empty(tokens * dim, rank))
        self.right = nn.Parameter(torch.empty(heads * tokens * width, rank))
        self.bias = nn.Parameter(torch.zeros(heads * tokens * width))
        nn.init.normal_(self.left, std=(tokens * dim) ** -0.5)
        nn.init.normal_(self.right, std=rank**-0.5)

    def forward(self, x: Float[Tensor, "n b c"]) -> Heads:
        made = F.linear(concatenated(x) @ self.left, self.right, self.bias)
        return (made.unflatten(-1, (self.heads, self.tokens, -1)),)


def concatenated(x: Float[Tensor, "n b c"]) -> Float[Tensor, "b nc"]:
    """The tokens of each sample, one after the other."""
    return x.transpose(0, 1).flatten(1)


def _token_heads(x: Tensor, heads: int, widths: tuple[int, ...]) -> tuple[Tensor, ...]:
    """(N, B, heads * widths) -> (B, heads, N, width) of each."""
    parts = x.unflatten(-1, (heads, -1)).split(widths, -1)
    return tuple(part.permute(1, 2, 0, 3) for part in parts)
