"""Fourier-type attention: the scores are used as they are, divided by the number of keys."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["fourier"]


def fourier(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    scale: float | None = None,
    mask: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b h n e"]:
    """(q k^T) v * scale / m; scale None = 1/sqrt(d); mask (b, m): True = keep, m = kept keys."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is None:
        return scores / max(k.shape[-2], 1) @ v
    kept = mask[:, None, None, :].to(q.dtype)
    return scores * kept / kept.sum(-1, keepdim=True).clamp(min=1) @ v
