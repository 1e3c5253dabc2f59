"""Softmax attention to the k keys of the largest scores.

Mao, Ester, Li, "IceFormer: Accelerated Inference with Long-Sequence Transformers on CPUs", 2024
(arXiv 2405.02842), whose search is approximate; here the keys are the right ones.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.rules import qkv
from surform.attention.widths import widened

__all__ = ["knn"]

_SCORES = 2**22  # held at a time, in all heads: 16 MB of float32


@kind("knn", qkv)
def knn(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    top_k: int = 20,
    mask: Bool[Tensor, "b m"] | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "b h n e"]:
    """Each query attends to its `top_k` keys of the largest scores; with all keys it is softmax.

    Made for models that were trained with softmax attention. Which keys count has no gradient.

    Args:
        top_k: keys of each query, fewer where fewer are to be seen.
        mask: True = keep, over keys. A query that keeps no key gives zeros.
        causal: query i sees keys 0..i.
        scale: None = 1/sqrt(d).

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("knn", q, k, v)
    check_key_mask("knn", mask, k)
    if not isinstance(top_k, int) or top_k < 1:
        raise ValueError(
            f"knn attention: top_k is {top_k!r}, but must be a whole number of at least 1"
        )
    return dispatch(
        "knn",
        {"q": q, "k": k, "v": v, "mask": mask},
        {
            "top_k": top_k,
            "causal": causal,
            "scale": q.shape[3] ** -0.5 if scale is None else scale,
        },
    )


@register("knn", "reference")
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    top_k: int,
    causal: bool,
    scale: float,
) -> Tensor:
    """The definition, literally: all scores, of which all but the largest are left out."""
    dtype = q.dtype
    q, k, v = widened(q, k, v)
    scores = _hidden(q @ k.transpose(-2, -1) * scale, mask, causal, 0)
    place = scores.topk(min(top_k, k.shape[2]), -1).indices
    near = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, place, True)
    scores = scores.masked_fill(~near, float("-inf"))
    return (_weights(scores) @ v).to(dtype)


def _for_inference(call: Call) -> str | None:
    return "keeps nothing for a gradient" if call.gradient else None


@register("knn", "blocks", priority=10, supports=_for_inference)
def _blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    top_k: int,
    causal: bool,
    scale: float,
) -> Tensor:
    """Some queries at a time; the values of their keys are gathered."""
    dtype, (b, h, n, _), m = q.dtype, q.shape, k.shape[2]
    if n == 0:
        return v.new_zeros(b, h, 0, v.shape[3])
    q, k, v = widened(q, k, v)
    step = max(1, _SCORES // max(b * h * m, 1))
    out = v.new_empty(b, h, n, v.shape[3])
    keys, flat = k.transpose(-2, -1), v.reshape(b * h * m, -1)
    start_of = torch.arange(b * h, device=q.device).view(b, h, 1, 1) * m
    for start in range(0, n, step):
        part = slice(start, start + step)
        scores = _hidden(q[:, :, part] * scale @ keys, mask, causal, start)
        best = scores.topk(min(top_k, m), -1)
        weights = _weights(best.values)  # (b, h, s, top_k)
        values = flat[(best.indices + start_of).flatten(0, 2)]
        rows = torch.bmm(weights.flatten(0, 2).unsqueeze(1), values)
        out[:, :, part] = rows.view(b, h, -1, v.shape[3])
    return out.to(dtype)


def _hidden(scores: Tensor, mask: Tensor | None, causal: bool, first: int) -> Tensor:
    """-inf where a query sees no key; the first row is query number `first`."""
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
    if causal:
        n, m = scores.shape[-2:]
        seen = torch.ones(n, m, dtype=torch.bool, device=scores.device).tril(first)
        scores = scores.masked_fill(~seen, float("-inf"))
    return scores


def _weights(scores: Tensor) -> Tensor:
    """Softmax; zeros where there is nothing but -inf."""
    nothing = (scores == float("-inf")).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)
