"""Attention without softmax in the order q (k^T v): linear in the number of tokens.

Cao, "Choose a Transformer: Fourier or Galerkin", 2021 (arXiv 2105.14995), equation 7 ("length");
Katharopoulos et al., "Transformers are RNNs", 2020 (arXiv 2006.16236), equation 5 ("keysum").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import dispatch, kind, register
from surform.attention.products import apply, outer
from surform.attention.rules import avoids_copies, cpu_only, mean_product, qkv

__all__ = ["linear"]

_NORMALIZERS = ("length", "keysum", "none")


@kind("linear", qkv)
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

    Kernel "tokens" lays the result out as q: heads cut out of (b, n, h * d) merge without a copy.

    Args:
        mask: True = keep, over keys; "length" then counts the kept ones. Without any kept key the
            result is zero.
        score_dropout: multiplies k^T v / m.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("linear", q, k, v)
    check_key_mask("linear", mask, k)
    if normalizer not in _NORMALIZERS:
        raise ValueError(
            f"linear attention: normalizer {normalizer!r} is none of {', '.join(_NORMALIZERS)}"
        )
    if score_dropout is not None:
        check_same_numbers("linear", q, score_dropout)
        if score_dropout.shape != (*k.shape[:2], k.shape[3], v.shape[3]):
            raise ValueError(
                f"linear attention: score_dropout has shape {tuple(score_dropout.shape)}, expected "
                f"(b, h, d, e) = {(*k.shape[:2], k.shape[3], v.shape[3])}"
            )
    return dispatch(
        "linear",
        {"q": q, "k": k, "v": v, "mask": mask, "score_dropout": score_dropout},
        {"normalizer": normalizer},
    )


@register("linear", "reference", priority=0)
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    normalizer: str,
) -> Tensor:
    """The definition, literally."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    return _linear(
        q, k, v, mask, score_dropout, normalizer, lambda a, b: a.transpose(-2, -1) @ b, torch.matmul
    )


def _linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    normalizer: str,
    outer: Callable[[Tensor, Tensor], Tensor],
    apply: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    score = outer(k, v) if normalizer == "none" else mean_product(outer, k, v, mask)
    if score_dropout is not None:
        score = score * score_dropout
    out = apply(q, score)
    if normalizer == "keysum":
        total = torch.matmul(q, mean_product(outer, k, _ones(k), mask))
        out = out / total.masked_fill(_no_keys(k, mask), 1.0)
    return out


def _ones(k: Tensor) -> Tensor:
    return k.new_ones(1, 1, 1, 1).expand(*k.shape[:3], 1)


def _no_keys(k: Tensor, mask: Tensor | None) -> Tensor:
    """Samples without any key, where the sum over keys is an empty one: (b or 1, 1, 1, 1)."""
    if mask is None:
        return torch.full((1, 1, 1, 1), k.shape[-2] == 0, device=k.device)
    return ~mask.any(-1)[:, None, None, None]


@register("linear", "tokens", priority=10, supports=cpu_only, pays=avoids_copies)
def _tokens(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    normalizer: str,
) -> Tensor:
    """Batched products on q, k, v as they lie in memory; masked keys are never written out."""
    return _linear(q, k, v, mask, score_dropout, normalizer, lambda a, b: outer(a, b, mask), apply)
