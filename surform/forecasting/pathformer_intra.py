"""Pathformer's attention inside patches: one vector per patch and node, by a learned query.

Chen et al., ICLR 2024, arXiv 2402.05956, section 3.1. Keys and values come from weights of the
node's own, made from a small memory (a factorised hypernetwork). Two identities save most of the
work. A score (W_k x) . q equals x . (W_k^T q), and the query does not depend on the input: with the
folded query the tokens themselves are keys. The key's bias adds the same to every score, which
softmax ignores. And the weighted mean of W_v x is W_v times the weighted mean of x: the tokens are
values, too, and W_v meets the map that follows before it meets any data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.attention.batch_last import softmax_batch_last
from surform.layers.remembered import Remembered

__all__ = ["HEADS", "IntraPatch", "IntraWeights", "NodeWeights"]

HEADS = 2
MEMORY, HIDDEN, CORE = 16, 64, 10  # widths of the memory, its MLP and the factors' inner side


class IntraWeights(NamedTuple):
    """What one expert's intra-patch attention needs, n patches of any size: no data in it.

    token: the query as a token (d, n, v); query: folded (d, 2, n, v); mix (v, d, 2 d) and offset
    (v, d): from the two heads' weighted means to the first shared map; out (d, d), out_offset (d,).
    """

    token: Tensor
    query: Tensor
    mix: Tensor
    offset: Tensor
    out: Tensor
    out_offset: Tensor


class NodeWeights(nn.Module):
    """The weights of all experts of a layer, made together from every expert's memory of each node.

    Without gradients they are kept from call to call while no parameter changes.

    Args:
        patches: number of patches of each expert.
    """

    def __init__(self, patches: Sequence[int], variates: int, dim: int) -> None:
        super().__init__()
        e, total, d = len(patches), sum(patches), dim
        self.patches = tuple(patches)
        self.memory = nn.Parameter(torch.randn(e, variates, MEMORY))
        sizes = ((MEMORY, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, CORE**2))
        self.weights = nn.ParameterList(_uniform(e, o, i, fan=i) for i, o in sizes)
        self.biases = nn.ParameterList(_uniform(e, o, fan=i) for i, o in sizes)
        # second axis: keys, values
        self.left = _uniform(e, 2, d, CORE, fan=CORE)
        self.right = _uniform(e, 2, CORE, d, fan=d)
        self.bias = _uniform(e, 2, CORE**2, d, fan=d)
        self.embedding = nn.Parameter(torch.rand(total, variates, MEMORY))
        self.query_weight = _uniform(total, d, MEMORY, fan=MEMORY)
        self.query_bias = _uniform(total, d, fan=MEMORY)
        # second axis: first and second shared map
        self.shared_weight = _uniform(e, 2, d, d, fan=d)
        self.shared_bias = _uniform(e, 2, d, fan=d)
        self._kept = Remembered()

    def forward(self) -> list[IntraWeights]:
        return self._kept.recall(self, self._make)

    def _make(self) -> list[IntraWeights]:
        cores = self.memory
        for level, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            cores = torch.baddbmm(bias.unsqueeze(1), cores, weight.transpose(1, 2))
            cores = torch.tanh(cores) if level < 2 else cores
        square = cores.unflatten(-1, (CORE, CORE)).unsqueeze(1)  # (e, 1, v, 10, 10)
        projections = self.left.unsqueeze(2) @ square @ self.right.unsqueeze(2)  # (e, 2, v, d, d)
        value_bias = torch.bmm(cores, self.bias[:, 1])  # (e, v, d)
        queries = torch.baddbmm(
            self.query_bias.unsqueeze(1), self.embedding, self.query_weight.transpose(1, 2)
        )  # (patches of all experts, v, d)
        return [
            self._expert(queries_, key, value, bias, weight, offset)
            for queries_, (key, value), bias, weight, offset in zip(
                queries.split(self.patches),
                projections,
                value_bias,
                self.shared_weight,
                self.shared_bias,
                strict=True,
            )
        ]

    def _expert(
        self,
        queries: Float[Tensor, "n v d"],
        key: Float[Tensor, "v d d"],
        value: Float[Tensor, "v d d"],
        value_bias: Float[Tensor, "v d"],
        weight: Float[Tensor, "2 d d"],
        offset: Float[Tensor, "2 d"],
    ) -> IntraWeights:
        parts = (HEADS, -1)
        folded = torch.einsum(
            "nvhx,vchx->chnv", queries.unflatten(-1, parts), key.unflatten(-1, parts)
        )
        mix = torch.einsum(
            "vchx,hxo->voch", value.unflatten(-1, parts), weight[0].unflatten(0, parts)
        )
        return IntraWeights(
            token=queries.permute(2, 0, 1).contiguous(),
            query=folded,
            mix=mix.flatten(-2),
            offset=value_bias @ weight[0] + offset[0],
            out=weight[1].t(),
            out_offset=offset[1],
        )


class IntraPatch(nn.Module):
    """Tokens (d, p, n, v, b) -> (d, n * p, v, b): one vector per patch, spread over all steps."""

    def __init__(self, lookback: int, patches: int) -> None:
        super().__init__()
        self.spread = nn.Linear(patches, lookback)

    def forward(
        self, x: Float[Tensor, "d p n v b"], weights: IntraWeights
    ) -> Float[Tensor, "d l v b"]:
        z = self.vectors(x, weights)
        spread = self.spread
        steps = torch.addmm(spread.bias.unsqueeze(1), spread.weight, z.flatten(1))
        return steps.unflatten(1, z.shape[1:]).permute(2, 0, 1, 3)

    def vectors(
        self, x: Float[Tensor, "d p n v b"], weights: IntraWeights
    ) -> Float[Tensor, "n v d b"]:
        """One vector per patch and node."""
        d, _, n, v, b = x.shape
        token = weights.token.to(x.dtype).view(d, 1, n, v, 1).expand(-1, -1, -1, -1, b)
        tokens = torch.cat((token, x), dim=1).flatten(2).unsqueeze(0)
        query = weights.query.to(x.dtype).unsqueeze(-1).expand(-1, -1, -1, -1, b)
        means = softmax_batch_last(
            query.reshape(1, d, HEADS, n * v * b), tokens, tokens, scale=1 / math.sqrt(d / HEADS)
        )
        means = means.reshape(d * HEADS, n * v, b).transpose(0, 1)  # (n v, 2 d, b)
        mix = weights.mix.expand(n, v, d, d * HEADS).flatten(0, 1)
        offset = weights.offset.expand(n, v, d).reshape(n * v, d, 1)
        z = torch.relu(torch.baddbmm(offset, mix, means))
        out = torch.baddbmm(weights.out_offset.view(1, d, 1), weights.out.expand(n * v, d, d), z)
        return out.view(n, v, d, b)


def _uniform(*shape: int, fan: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-(fan**-0.5), fan**-0.5))
