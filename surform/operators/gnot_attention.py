"""Cross and self attention of GNOT: queries and keys pass through a softmax over their features."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.attention.rows import softmax_rows
from surform.layers.dropout import Dropout

__all__ = ["CrossAttention", "SelfAttention"]


class CrossAttention(nn.Module):
    """From query points to input functions: q + sum over functions of keysum attention, projected.

    The functions' contributions add up; the paper takes their mean (equation 9), its code the sum.
    """

    def __init__(self, dim: int, heads: int, inputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(inputs))
        self.key_values = nn.ModuleList(nn.Linear(dim, 2 * dim) for _ in range(inputs))
        self.out = nn.Linear(dim, dim)

    def sums(
        self,
        features: Sequence[Float[Tensor, "b _ c"]],
        masks: Sequence[Tensor | None],
        weights: Sequence[Tensor | None],
    ) -> list[Float[Tensor, "b h d e"]]:
        """What the attention needs of the input functions, each read once."""
        found = []
        for i, z in enumerate(features):
            k, v = self.key_values[i](self.norms[i](z)).chunk(2, dim=-1)
            k, v = _features(k, self.heads), _heads(v, self.heads)
            found.append(attention.key_sums(k, v, mask=masks[i], weights=weights[i]))
        return found

    def forward(
        self, x: Float[Tensor, "b n c"], sums: Sequence[Float[Tensor, "b h d e"]]
    ) -> Float[Tensor, "b n c"]:
        """x: normalised features of the query points."""
        q = _features(self.query(x), self.heads)
        return self.out(_merged(q + attention.keysum(q, sums) if sums else q))


class SelfAttention(nn.Module):
    """Keysum attention among the query points plus the query itself, projected.

    In two steps, so that points can be read in pieces: `project`, then `forward` with the sums over
    the points of all pieces.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(dim, dim)

    def project(
        self,
        x: Float[Tensor, "b n c"],
        mask: Bool[Tensor, "b n"] | None = None,
        weights: Float[Tensor, "b n"] | None = None,
    ) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h d e"]]:
        """Queries of normalised features, and the sums over these points as keys."""
        # three products of one stored matrix: nothing then keeps more than it needs in memory
        maps = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, *map) for map in maps)
        q, k = _features(q, self.heads), _features(k, self.heads)
        return q, attention.key_sums(k, _heads(v, self.heads), mask=mask, weights=weights)

    def forward(
        self, q: Float[Tensor, "b h n d"], sums: Float[Tensor, "b h d e"]
    ) -> Float[Tensor, "b n c"]:
        """q and the sums over all points, from `project`."""
        return self.out(_merged(self.dropout(attention.keysum(q, [sums]) + q)))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (b, h, n, d)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (b, n, h d)


def _features(x: Tensor, heads: int) -> Tensor:
    """Softmax over the features of every head."""
    return softmax_rows(x.unflatten(-1, (heads, -1))).transpose(1, 2)
