"""Attention without softmax in the order q (k^T v): linear in the number of tokens."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["linear"]


def linear(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    normalizer: Literal["length", "keysum", "none"] = "length",
    mask: Bool[Tensor, "b m"] | None = None,
    score_dropout: Float[Tensor, "b h d e"] | None = None,
) -> Float[Tensor, "b h n e"]:
    """q (k^T v), divided by m ("length"), by q . sum_m k_m ("keysum"), or as it is ("none").

    mask: True = keep, (b, m) over keys; "length" then counts the kept keys.
    score_dropout: multiplies k^T v / m, (b, h, d, e).
    """
    if mask is not None:
        k = k * mask[:, None, :, None].to(k.dtype)
        count = mask.sum(-1).clamp(min=1)[:, None, None, None].to(k.dtype)
    else:
        count = torch.tensor(max(k.shape[-2], 1), dtype=k.dtype, device=k.device)
    score = k.transpose(-2, -1) @ v
    if normalizer == "length":
        score = score / count
    if score_dropout is not None:
        score = score * score_dropout
    out = q @ score
    if normalizer == "keysum":
        out = out / (q @ k.sum(-2, keepdim=True).transpose(-2, -1))
    return out
