"""Fourier-type attention: scores without softmax, divided by the number of keys.

Cao, "Choose a Transformer: Fourier or Galerkin", 2021 (arXiv 2105.14995), equation 6.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import certainly, check_key_mask, check_tokens
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
from surform.attention.products import apply, outer

__all__ = ["fourier"]


def _example(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple[Tensor, ...], dict]:
    keys = sizes.tokens if sizes.keys is None else sizes.keys
    head = (sizes.batch, sizes.heads)
    k, v = (make(*head, keys, sizes.width) for _ in range(2))
    return (make(*head, sizes.tokens, sizes.width), k, v), {}


@kind("fourier", _example)
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
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is None:
        return scores / max(k.shape[-2], 1) @ v
    kept = mask[:, None, None, :].to(q.dtype)
    return scores * kept / kept.sum(-1, keepdim=True).clamp(min=1) @ v


def _factor(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | None) -> float | Tensor:
    """scale / m, a number or (b or 1, 1, 1, 1)."""
    number = q.shape[-1] ** -0.5 if scale is None else scale
    if mask is None:
        return number / max(k.shape[-2], 1)
    return number / mask.sum(-1).clamp(min=1).to(q.dtype)[:, None, None, None]


def _scores_cost_less(call: Call) -> str | None:
    (n, d), (m, e) = call.shapes["q"][2:], call.shapes["v"][2:]
    scores, factored = n * m * (d + e), d * e * (n + m)  # multiplications per head
    if certainly(scores < factored):
        return f"(q k^T) v takes fewer multiplications here: {scores} against {factored}"
    return None


def _cpu_only(call: Call) -> str | None:
    return None if call.device == "cpu" else "is written for a CPU's caches"


def _tokens_pays(call: Call) -> str | None:
    if call.exporting:
        return "an exported program holds plain torch operations only"
    return _scores_cost_less(call)


@register("fourier", "tokens", priority=30, supports=_cpu_only, pays=_tokens_pays)
def _tokens(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """q (k^T v) on q, k, v as they lie in memory, the scale folded into the d x e matrix."""
    return apply(q, outer(k, v, mask) * _factor(q, k, mask, scale))


@register("fourier", "factored", priority=20, pays=_scores_cost_less)
def _factored(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """q (k^T v) in plain torch operations."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    return q @ (k.transpose(-2, -1) @ v * _factor(q, k, mask, scale))


@register("fourier", "scores", priority=10)
def _scores(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """(q k^T) v, cheaper for few tokens: scale and mask touch q and k instead of the scores."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    return (q * _factor(q, k, mask, scale)) @ k.transpose(-2, -1) @ v
