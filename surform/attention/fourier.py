"""Fourier-type attention: scores without softmax, divided by the number of keys.

Cao, "Choose a Transformer: Fourier or Galerkin", 2021 (arXiv 2105.14995), equation 6.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.products import apply, outer
from surform.attention.rules import avoids_copies, cpu_only, mean_product, qkv, scores_cost_less

__all__ = ["fourier"]


@kind("fourier", qkv)
def fourier(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    scale: float | None = None,
    mask: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b h n e"]:
    """(q k^T) v * scale / m.

    Without softmax the product is associative: the fast kernels compute whichever of (q k^T) v and
    q (k^T v) costs less.

    Args:
        scale: None = 1/sqrt(d).
        mask: True = keep, over keys; m then counts the kept ones. Without any kept key the result
            is zero.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("fourier", q, k, v)
    check_key_mask("fourier", mask, k)
    return dispatch("fourier", {"q": q, "k": k, "v": v, "mask": mask}, {"scale": scale})


@register("fourier", "reference", priority=0)
def _reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """The definition, literally."""
    kept = 1 if mask is None else mask[:, None, None, :]
    return mean_product(
        lambda k, v: (q @ k.transpose(-2, -1) * _scale(q, scale) * kept) @ v, k, v, mask
    )


def _scale(q: Tensor, scale: float | None) -> float:
    return q.shape[-1] ** -0.5 if scale is None else scale


def _tokens_pays(call: Call) -> str | None:
    return avoids_copies(call) or scores_cost_less(call)


@register("fourier", "tokens", priority=30, supports=cpu_only, pays=_tokens_pays)
def _tokens(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """q (k^T v) on q, k, v as they lie in memory, the scale folded into the d x e matrix."""
    return apply(q, mean_product(lambda k, v: outer(k, v, mask), k, v, mask) * _scale(q, scale))


@register("fourier", "factored", priority=20, pays=scores_cost_less)
def _factored(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """q (k^T v) in plain torch operations."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    return q @ (mean_product(lambda k, v: k.transpose(-2, -1) @ v, k, v, mask) * _scale(q, scale))


@register("fourier", "scores", priority=10)
def _scores(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """(q k^T) v, cheaper for few tokens: scale and mask touch q and k only."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    q = q * _scale(q, scale)
    return mean_product(lambda k, v: q @ k.transpose(-2, -1) @ v, k, v, mask)
