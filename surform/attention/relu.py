"""ReLU attention: rectified scores, divided by the number of keys in sight instead of by their sum.

Lin, Bai, Mei, "Transformers as Decision Makers: Provable In-Context Reinforcement Learning via
Supervised Pretraining", 2023 (arXiv 2310.08566), definition 1 and its official code.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surform.attention.checks import certainly, check_tokens
from surform.attention.dispatch import dispatch, kind, register
from surform.attention.rules import qkv

__all__ = ["relu"]


@kind("relu", qkv)
def relu(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    scale: float = 1.0,
    causal: bool = False,
) -> Float[Tensor, "b h n e"]:
    """relu(q k^T scale) v / number of keys in sight.

    Weights depend on their own query and key only, so that keys and values of earlier tokens can be
    kept: asking for the last tokens alone gives the same rows.

    Args:
        scale: of the scores; must not be negative.
        causal: the queries are the last n of the m tokens; each sees itself and what is before it.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("relu", q, k, v)
    if not scale >= 0:
        raise ValueError(f"relu attention: scale is {scale}, but must not be negative")
    if causal and not certainly(q.shape[2] <= k.shape[2]) and q.shape[2] > k.shape[2]:
        raise ValueError(
            f"relu attention: {q.shape[2]} queries cannot be the last of {k.shape[2]} tokens"
        )
    return dispatch("relu", {"q": q, "k": k, "v": v}, {"scale": scale, "causal": causal})


@register("relu", "reference", priority=0)
def _reference(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """The definition, literally."""
    n, m = q.shape[-2], k.shape[-2]
    seen = torch.ones(n, m, dtype=torch.bool, device=q.device)
    if causal:
        seen = seen.tril(m - n)
    weights = torch.relu(q @ k.transpose(-2, -1) * scale) * seen
    return (weights / seen.sum(-1, keepdim=True).clamp(min=1)).to(v.dtype) @ v


@register("relu", "scaled_queries", priority=10)
def _scaled_queries(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """Scale and number of keys on the queries: relu(x) / c = relu(x / c)."""
    n, m = q.shape[-2], k.shape[-2]
    if not causal:
        return (q * (scale / max(m, 1)) @ k.transpose(-2, -1)).relu_() @ v
    wide = torch.promote_types(q.dtype, torch.float32)
    count = torch.arange(m - n + 1, m + 1, device=q.device, dtype=wide)
    share = (scale / count).to(q.dtype).unsqueeze(-1)
    scores = q * share @ k.transpose(-2, -1)
    # the mask first: the derivative of relu is read off its result, which must stay as it is
    return scores.tril_(m - n).relu_() @ v
