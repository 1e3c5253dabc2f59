"""Attention by features of queries and keys whose products stand for a kernel.

Chowdhury et al., "On Learning the Transformer Kernel", 2021 (arXiv 2110.08323), which learn the
kernel's spectral distribution: `surform.attention.spectral_features` makes such features.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_tokens
from surform.attention.dispatch import dispatch, kind, register
from surform.attention.products import apply, outer
from surform.attention.rules import avoids_copies, cpu_only, qkv
from surform.attention.widths import widened

__all__ = ["spectral"]

_EPS = 1e-6


@kind("spectral", qkv)
def spectral(
    q: Float[Tensor, "b h n f"],
    k: Float[Tensor, "b h m f"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b h n e"]:
    """q (k^T v) / (q . sum_m k_m + 1e-6), of features q and k; linear in the number of tokens.

    Sums are taken in float32 at least.

    Args:
        mask: True = keep, over keys. Without any kept key the result is zero.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("spectral", q, k, v)
    check_key_mask("spectral", mask, k)
    return dispatch("spectral", {"q": q, "k": k, "v": v, "mask": mask}, {})


@register("spectral", "reference")
def _reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The definition, literally: all weights."""
    dtype = v.dtype
    q, k, v = widened(q, k, v)
    weights = q @ k.transpose(-2, -1)
    if mask is not None:
        weights = weights * mask[:, None, None]
    return (weights @ v / (weights.sum(-1, keepdim=True) + _EPS)).to(dtype)


@register("spectral", "factored", priority=10)
def _factored(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q (k^T v); the sum of the keys is one more column of values."""
    dtype = v.dtype
    q, k, v = widened(q, k, v)
    if mask is not None:
        k = k * mask[:, None, :, None]
    return _over_sum(q @ (k.transpose(-2, -1) @ _with_ones(v))).to(dtype)


@register("spectral", "tokens", priority=20, supports=cpu_only, pays=avoids_copies)
def _tokens(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Batched products on features and values as they lie in memory."""
    dtype = v.dtype
    q, k, v = widened(q, k, v)
    return _over_sum(apply(q, outer(k, _with_ones(v), mask))).to(dtype)


def _with_ones(v: Tensor) -> Tensor:
    return torch.cat((v, v.new_ones(*v.shape[:3], 1)), -1)


def _over_sum(rows: Tensor) -> Tensor:
    return rows[..., :-1] / (rows[..., -1:] + _EPS)
