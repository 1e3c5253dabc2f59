"""Scaled dot-product attention."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["softmax"]


def softmax(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
    second_order: bool = False,
) -> Float[Tensor, "b h n e"]:
    """softmax(q k^T scale + bias) v; scale None = 1/sqrt(d).

    mask: True = keep, (b, m) over keys or broadcastable to (b, h, n, m). A query without any kept
    key gives zeros. causal: query i sees the keys 0..i.
    """
    n, m = q.shape[-2], k.shape[-2]
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    keep = torch.ones(n, m, dtype=torch.bool, device=q.device)
    if causal:
        keep = keep.tril()
    if mask is not None:
        keep = keep & (mask[:, None, None, :] if mask.ndim == 2 else mask)
    nothing = ~keep.any(-1, keepdim=True)
    scores = scores.masked_fill(~keep, float("-inf")).masked_fill(nothing, 0.0)
    weights = torch.softmax(scores, dim=-1).masked_fill(nothing, 0.0)
    return torch.dropout(weights, dropout_p, train=dropout_p > 0.0) @ v
