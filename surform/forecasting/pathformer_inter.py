"""Pathformer's inter-patch attention: the patches of a node look at each other.

Chen et al., ICLR 2024, arXiv 2402.05956, section 3.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.attention.batch_last import softmax_batch_last
from surform.layers.hashed_noise import dropout

__all__ = ["InterPatch"]


class InterPatch(nn.Module):
    """Self-attention over patches whose d * p features are `dim` heads of width `patch_size`.

    Tokens (d, p, n, v, b) -> (d, n * p, v, b).

    Args:
        restore_order: put each output number back where its input came from. The published code
            reads numbers that lie as (v, n, d, p) as (l, v, d) instead, which mixes nodes, steps
            and features; trained weights depend on it.
        dropout: share of embedding and output dropped in training.
    """

    def __init__(
        self, dim: int, patch_size: int, patches: int, *, restore_order: bool, dropout: float
    ) -> None:
        super().__init__()
        width = dim * patch_size
        self.patch_size = patch_size
        self.restore_order, self.dropout = restore_order, dropout
        self.embed = nn.Linear(width, width)
        self.position = nn.Parameter(torch.empty(patches, width).uniform_(-0.02, 0.02))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "d p n v b"]) -> Float[Tensor, "d l v b"]:
        d, p, n, v, b = x.shape
        y = self.attend(x.reshape(d * p, n * v * b)).view(d, p, n, v, b)
        if self.restore_order:
            return y.transpose(1, 2).reshape(d, n * p, v, b)
        return y.permute(3, 2, 0, 1, 4).reshape(n * p, v, d, b).permute(2, 0, 1, 3)

    def attend(self, x: Float[Tensor, "w c"]) -> Float[Tensor, "w c"]:
        """Features (d * p) first; columns are (n, v, b)."""
        n, width = self.position.shape
        heads = width // self.patch_size
        place = (self.position + self.embed.bias).t()
        e = (self.embed.weight @ x).view(width, n, -1) + place.unsqueeze(-1)
        e = self._drop(e).view(width, -1)
        qkv = torch.addmm(self.qkv.bias.unsqueeze(1), self.qkv.weight, e)
        q, k, v = qkv.view(3, heads, width // heads, n, -1).unbind(0)
        y = softmax_batch_last(q, k, v).reshape(width, -1)
        return self._drop(torch.addmm(self.out.bias.unsqueeze(1), self.out.weight, y))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.training and self.dropout else x
