"""Additive attention: all tokens are summed up in two vectors, and no pair of tokens meets.

Wu et al., "Fastformer: Additive Attention Can Be All You Need", 2021 (arXiv 2108.09084).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Sizes, dispatch, kind, register
from surform.attention.widths import widened

__all__ = ["additive"]

Weights = tuple[Float[Tensor, "h p"], Float[Tensor, " h"]]


def _example(
    sizes: Sizes, make: Callable[..., Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    shape, whole = (sizes.batch, sizes.heads, sizes.tokens, sizes.width), sizes.heads * sizes.width
    q, k = (make(*shape) for _ in range(2))
    maps = [(make(sizes.heads, whole), make(1, sizes.heads)[0]) for _ in range(2)]
    return (q, k), {"query_map": maps[0], "key_map": maps[1]}


@kind("additive", _example)
def additive(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    *,
    query_map: Weights,
    key_map: Weights,
    mask: Bool[Tensor, "b n"] | None = None,
) -> Float[Tensor, "b h n d"]:
    """u q, with one global key u per head: sum_i b_i g k_i, and one global query g: sum_i a_i q_i.

    The weights a and b are softmaxes over tokens of (w . x + bias) / sqrt(d), where x is the token
    q_i, or g k_i, with all heads side by side. Queries are the values, too.

    Args:
        query_map: weights (h, h * d) and biases (h) of the scores of the queries.
        key_map: likewise of the global query times the keys.
        mask: True = keep; other tokens add nothing to the sums. Without any kept token the result
            is zero.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("additive", q, k, k)
    check_key_mask("additive", mask, k)
    if q.shape != k.shape:
        raise ValueError(
            f"additive attention: q has shape {tuple(q.shape)} and k {tuple(k.shape)}, but it is "
            "attention of tokens among themselves: both need the same"
        )
    h, d = q.shape[1], q.shape[3]
    for name, (weight, bias) in (("query_map", query_map), ("key_map", key_map)):
        check_same_numbers("additive", q, weight, bias)
        if weight.shape != (h, h * d) or bias.shape != (h,):
            raise ValueError(
                f"additive attention: {name} has shapes {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}, expected (heads, heads * width) = {(h, h * d)} and ({h},)"
            )
    return dispatch(
        "additive",
        {"q": q, "k": k, "query_map": query_map, "key_map": key_map, "mask": mask},
        {},
    )


@register("additive", "reference")
def _reference(
    q: Tensor,
    k: Tensor,
    query_map: tuple[Tensor, Tensor],
    key_map: tuple[Tensor, Tensor],
    mask: Tensor | None,
) -> Tensor:
    """The definition, literally."""
    dtype = q.dtype
    q, k = widened(q, k)
    query = (_shares(q, query_map, mask)[..., None] * q).sum(2, keepdim=True)
    pairs = query * k
    key = (_shares(pairs, key_map, mask)[..., None] * pairs).sum(2, keepdim=True)
    return (key * q).to(dtype)


@register("additive", "folded", priority=10)
def _folded(
    q: Tensor,
    k: Tensor,
    query_map: tuple[Tensor, Tensor],
    key_map: tuple[Tensor, Tensor],
    mask: Tensor | None,
) -> Tensor:
    """The global query acts on the scores' weights and on the sum of the keys, not on each key."""
    dtype, (weight, bias) = q.dtype, widened(*key_map)
    q, k = widened(q, k)
    query = _shares(q, query_map, mask).unsqueeze(2) @ q  # (b, h, 1, d)
    weight = weight.unflatten(1, (q.shape[1], -1)) * query.transpose(1, 2)  # (b, g, h, d)
    share = _softmax(torch.einsum("bhnd,bghd->bgn", k, weight), bias, q.shape[3], mask)
    key = query * (share.unsqueeze(2) @ k)
    return (key * q).to(dtype)


def _shares(x: Tensor, of: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
    """Weights of the tokens in each head, (b, h, n)."""
    weight, bias = widened(*of)
    scores = torch.einsum("bhnd,ghd->bgn", x, weight.unflatten(1, (x.shape[1], -1)))
    return _softmax(scores, bias, x.shape[3], mask)


def _softmax(scores: Tensor, bias: Tensor, width: int, mask: Tensor | None) -> Tensor:
    scores = (scores + bias[:, None]) * width**-0.5
    if mask is None:
        return torch.softmax(scores, -1)
    keep = mask[:, None]
    nothing = ~keep.any(-1, keepdim=True)
    scores = scores.masked_fill(~keep, float("-inf")).masked_fill(nothing, 0.0)
    return torch.softmax(scores, -1).masked_fill(nothing, 0.0)
