"""JetFormer: which particle a jet came from, told from its constituents.

"JetFormer", 2026 (arXiv 2601.17215); official code walkieq/JetFormer@14e493a880789d2aa4bea2af6490b1
083ea4f233. Where the norms' statistics are fixed they are folded into the maps beside them, and the
last block computes only the class token: the same logits from less work.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.dropout import Dropout
from surform.layers.multihead import merge_heads, split_heads
from surform.particles.token_norm import TokenBatchNorm, TokenLayerNorm, TokenNorm, Unnormed

__all__ = ["JetBlock", "JetFormer"]

Activation = Literal["relu", "silu"]
Norm = Literal["batch", "layer", "none"]
_ACTIVATIONS = {"relu": F.relu, "silu": F.silu}
_NORMS = {"batch": TokenBatchNorm, "layer": TokenLayerNorm, "none": Unnormed}


class JetBlock(nn.Module):
    """Attention of particles among themselves, then two maps, each behind norm and activation."""

    def __init__(
        self, dim: int, heads: int, activation: Activation, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        make = _NORMS[norm]
        self.heads, self.activate = heads, _ACTIVATIONS[activation]
        self.norm: TokenNorm = make(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.norm1: TokenNorm = make(dim)
        self.up = nn.Linear(dim, 2 * dim, bias=False)
        self.norm2: TokenNorm = make(2 * dim)
        self.down = nn.Linear(2 * dim, dim, bias=False)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        h: Float[Tensor, "b n c"],
        keep: Bool[Tensor, "b n"] | None = None,
        first_only: bool = False,
    ) -> Float[Tensor, "b m c"]:
        """keep: tokens that others look at; first_only: only the first one is needed (m = 1)."""
        q, k, v = self._heads(h, keep, first_only)
        if first_only:
            h = h[:, :1]
        h = h + self.out(merge_heads(attention.softmax(q, k, v, mask=keep)))
        return self.dropout(h + self._feed_forward(h, keep))

    def _heads(self, h: Tensor, keep: Tensor | None, first_only: bool) -> tuple[Tensor, ...]:
        if not first_only:
            return split_heads(_normed_map(self.norm, self.qkv.weight, h, keep), 3, self.heads)
        query, pair = self.qkv.weight.tensor_split((h.shape[-1],))
        (q,) = split_heads(_normed_map(self.norm, query, h[:, :1], None), 1, self.heads)
        return q, *split_heads(_normed_map(self.norm, pair, h, keep), 2, self.heads)

    def _feed_forward(self, h: Tensor, keep: Tensor | None) -> Tensor:
        inner = self.activate(self.norm1(h, keep))
        fixed = self.norm2.as_map()
        if fixed is None:
            inner = self.norm2(self.up(inner), keep)
        else:  # nothing is between this norm and the map before it
            inner = F.linear(inner, self.up.weight * fixed[0][:, None], fixed[1])
        return self.down(self.activate(inner))


class JetFormer(nn.Module):
    """A transformer over the particles of a jet with a class token and no positions.

    "JetFormer", 2026 (arXiv 2601.17215). The order of the particles does not matter. The norm over
    the scores that the official code keeps and never uses is left out, so that one network takes
    jets of any number of particles.

    Args:
        in_channels: features of a particle.
        num_classes: how many logits.
        activation: "relu" or "silu".
        norm: "batch", "layer" or "none".
        dropout: of the sum at the end of each block.
        mask_padding: leave padded particles out of attention and of the statistics of batch norms.
            The published network does not: there they are particles of zeros.
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 16,
        num_classes: int = 5,
        dim: int = 128,
        depth: int = 4,
        heads: int = 2,
        activation: Activation = "relu",
        norm: Norm = "batch",
        dropout: float = 0.0,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, num_classes=num_classes, dim=dim, depth=depth)
        at_least(1, heads=heads)
        fraction(dropout=dropout)
        one_of("activation", activation, list(_ACTIVATIONS))
        one_of("norm", norm, list(_NORMS))
        if dim % heads:
            raise ValueError(f"dim is {dim}, but must be a multiple of heads = {heads}")
        self.mask_padding = mask_padding
        self.embedding = nn.Linear(in_channels, dim)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.blocks = nn.ModuleList(
            JetBlock(dim, heads, activation, norm, dropout) for _ in range(depth)
        )
        self.norm: TokenNorm = _NORMS[norm](dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(
        self, x: Float[Tensor, "b p f"], keep: Bool[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits of jets; their log_softmax is what the official network gives.

        Args:
            x: standardised features of particles.
            keep: which of them are there; of no matter without `mask_padding`. None: all.

        Raises:
            ValueError: another number of features, or a mask of another shape.
        """
        self._check(x, keep)
        h = self.embed(x)
        kept = self.kept(keep)
        # batch statistics are of all tokens, so that in training none can be left out
        alone = not (self.training and isinstance(self.norm, TokenBatchNorm))
        for number, block in enumerate(self.blocks, 1):
            h = block(h, kept, first_only=alone and number == len(self.blocks))
        return self.head(self.norm(h[:, :1])).squeeze(1)

    def embed(self, x: Float[Tensor, "b p f"]) -> Float[Tensor, "b n c"]:
        """The class token, then a token for each particle: n = p + 1."""
        return torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.embedding(x)), 1)

    def kept(self, keep: Bool[Tensor, "b p"] | None) -> Bool[Tensor, "b n"] | None:
        """The mask with the class token before it; None where nothing is masked."""
        if keep is None or not self.mask_padding:
            return None
        return F.pad(keep, (1, 0), value=True)

    def _check(self, x: Tensor, keep: Tensor | None) -> None:
        channels = self.embedding.in_features
        if x.ndim != 3 or x.shape[-1] != channels:
            raise ValueError(
                f"jets have shape {tuple(x.shape)}, but JetFormer takes (jets, particles, "
                f"{channels}): in_channels is {channels}"
            )
        if keep is not None and keep.shape != x.shape[:2]:
            raise ValueError(
                f"keep has shape {tuple(keep.shape)}, but jets and particles are "
                f"{tuple(x.shape[:2])}"
            )


def _normed_map(norm: TokenNorm, weight: Tensor, x: Tensor, keep: Tensor | None) -> Tensor:
    """norm(x) weight^T, in one map where the norm is affine."""
    fixed = norm.as_map()
    if fixed is None:
        return F.linear(norm(x, keep), weight)
    return F.linear(x, weight * fixed[0], weight @ fixed[1])
