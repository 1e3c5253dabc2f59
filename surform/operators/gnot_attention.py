"""Cross and self attention of GNOT: queries and keys pass through a softmax over their features.

Two exact rewrites save work at every point: values are linear in the features y that they are made
of, so that sum k v^T = (sum k y^T) W^T + (sum k) b^T needs no values; and the projection behind the
attention acts on these sums as well, head by head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
            (weight, value_weight), (bias, value_bias) = (
                parameter.chunk(2) for parameter in self.key_values[i].parameters()
            )
            y = self.norms[i](z)
            k = _features(F.linear(y, weight, bias), self.heads)
            raw = _sums(k, y, masks[i], weights[i])
            found.append(_projected(raw, self.heads, value_weight, value_bias, self.out.weight))
        return found

    def forward(
        self, x: Float[Tensor, "b n c"], sums: Sequence[Float[Tensor, "b h d e"]]
    ) -> Float[Tensor, "b n c"]:
        """x: normalised features of the query points."""
        q = _features(self.query(x), self.heads)
        own = self.out(q.flatten(2))
        if not sums:
            return own
        return attention.keysum(q.transpose(1, 2), sums, merge=True, residual=own)


class SelfAttention(nn.Module):
    """Keysum attention among the query points plus the query itself, projected.

    In steps, so that points can be read in pieces: `project` each piece, add up their sums,
    `finish` these, then `forward` for each piece.
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
    ) -> tuple[Float[Tensor, "b n h d"], Float[Tensor, "b 1 c e"]]:
        """Queries of normalised features, and the sums over these points as keys."""
        # products of one stored matrix: nothing then keeps more than it needs in memory
        maps = list(zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True))
        q, k = (_features(F.linear(x, *maps[i]), self.heads) for i in range(2))
        return q, _sums(k, x, mask, weights)

    def finish(self, sums: Float[Tensor, "b 1 c e"]) -> Float[Tensor, "b h d e"]:
        """Sums over all points, ready for the queries."""
        weight, bias = self.qkv.weight.chunk(3)[2], self.qkv.bias.chunk(3)[2]
        # dropout stands between attention and projection
        out = None if self._drops() else self.out.weight
        return _projected(sums, self.heads, weight, bias, out)

    def forward(
        self, q: Float[Tensor, "b n h d"], sums: Float[Tensor, "b h d e"]
    ) -> Float[Tensor, "b n c"]:
        """q of `project`, sums of `finish`."""
        if self._drops():
            mixed = attention.keysum(q.transpose(1, 2), [sums], residual=q.transpose(1, 2))
            return self.out(self.dropout(mixed.transpose(1, 2).flatten(2)))
        own = self.out(q.flatten(2))
        return attention.keysum(q.transpose(1, 2), [sums], merge=True, residual=own)

    def _drops(self) -> bool:
        return self.training and self.dropout.p > 0


def _features(x: Tensor, heads: int) -> Tensor:
    """Softmax over the features of every head: (b, n, h, d)."""
    return softmax_rows(x.unflatten(-1, (heads, -1)))


def _sums(k: Tensor, y: Tensor, mask: Tensor | None, weights: Tensor | None) -> Tensor:
    """sum over points of k [y 1]^T for the features of all heads at once: (b, 1, c, c + 1)."""
    k = k.flatten(2).unsqueeze(1)
    return attention.key_sums(k, y.unsqueeze(1).to(k.dtype), mask=mask, weights=weights)


def _projected(
    sums: Tensor, heads: int, weight: Tensor, bias: Tensor, out: Tensor | None
) -> Tensor:
    """sum k [v 1]^T of every head, v = weight y + bias: (b, h, d, d + 1); with `out`, v is the
    head's part of the projected result, (b, h, d, c + 1)."""
    # per key: a common factor changes no result, and 16 bits do not hold sums over many keys
    size = sums[..., -1:].detach().sum(-2, keepdim=True)
    sums = (sums / size.masked_fill(size == 0, 1.0)).squeeze(1).unflatten(1, (heads, -1))
    products, total = sums[..., :-1], sums[..., -1:]  # (b, h, d, c), (b, h, d, 1)
    weight, bias = (w.to(sums.dtype).unflatten(0, (heads, -1)) for w in (weight, bias))
    values = products @ weight.transpose(1, 2) + total * bias.unsqueeze(1)  # (b, h, d, d)
    if out is not None:
        values = values @ out.to(sums.dtype).unflatten(1, (heads, -1)).permute(1, 2, 0)
    return torch.cat((values, total.to(values.dtype)), dim=-1)
