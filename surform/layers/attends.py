"""Kinds of attention as modules, for `SelfAttention` and `CrossAttention` to attend with."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform import attention
from surform.attention.key_samples import sampled_count
from surform.layers.checks import at_least, fraction

__all__ = ["ProbSparse", "Softmax"]


class Softmax(nn.Module):
    """Softmax attention with dropout on its weights, in training only."""

    def __init__(self, dropout: float = 0.0, *, causal: bool = False) -> None:
        super().__init__()
        fraction(dropout=dropout)
        self.dropout, self.causal = dropout, causal

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m e"],
        *,
        mask: Bool[Tensor, "*keep"] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """mask: as for `surform.attention.softmax`, True = keep."""
        dropout = self.dropout if self.training else 0.0
        return attention.softmax(q, k, v, mask=mask, causal=self.causal, dropout_p=dropout)


class ProbSparse(nn.Module):
    """ProbSparse attention; which keys it samples is drawn anew in every training step.

    In evaluation the sample depends on `seed` and the lengths alone, so that forecasts repeat.

    Args:
        seed: of the evaluation's sample.
        always_draw: draw anew in evaluation, too, from torch's generator.
    """

    def __init__(
        self, factor: int = 5, *, causal: bool = False, seed: int = 0, always_draw: bool = False
    ) -> None:
        super().__init__()
        at_least(1, factor=factor)
        self.factor, self.causal, self.seed, self.always_draw = factor, causal, seed, always_draw

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m e"],
        *,
        sample_index: Int[Tensor, "n s"] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """sample_index: keys that each query samples, instead of drawn ones."""
        n, m = q.shape[2], k.shape[2]
        if sample_index is None and (self.training or self.always_draw) and n and m:
            count = sampled_count(m, self.factor)
            sample_index = torch.randint(m, (n, count), device=q.device)
        return attention.probsparse(
            q,
            k,
            v,
            factor=self.factor,
            causal=self.causal,
            sample_index=sample_index,
            seed=self.seed,
        )
