"""Flow-Attention: values stream from keys to queries, and what flows is conserved; linear cost.

Wu, Wu, Xu, Wang, Long, "Flowformer: Linearizing Transformers with Conservation Flows", ICML 2022
(arXiv 2202.06258), section 3.2, without causal mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.products import apply, outer
from surform.attention.rules import avoids_copies, cpu_only, key_count, qkv, scores_cost_less

__all__ = ["flow"]

_EPS = 1e-6  # of the official code; keeps the flow through a token that nothing reaches positive


@kind("flow", qkv)
def flow(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b h n e"]:
    """sigmoid(R n / m) phi(q) (phi(k)^T (v m softmax(C))) / I, with phi = sigmoid.

    I_i = phi(q_i) . sum_j phi(k_j) flows into query i, O_j = phi(k_j) . sum_i phi(q_i) out of key
    j. R_i = phi(q_i) . sum_j phi(k_j) / O_j and C_j = phi(k_j) . sum_i phi(q_i) / I_i are the same
    flows once the outgoing ones (competition among the keys, by C) or the incoming ones (allocation
    to the queries, by R) are held at one. A small constant is added to both factors of every
    product. The weights are neither scaled nor normalised to one.

    Args:
        mask: True = keep, over keys: as if the others were not there. All queries count. Without
            any kept key the result is zero.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("flow", q, k, v)
    check_key_mask("flow", mask, k)
    return dispatch("flow", {"q": q, "k": k, "v": v, "mask": mask}, {})


@register("flow", "reference", priority=0)
def _reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The definition, literally."""
    dtype = torch.promote_types(v.dtype, torch.float32)
    q, k = torch.sigmoid(q.to(dtype)), torch.sigmoid(k.to(dtype))
    keep = torch.ones_like(k[:, :1, :, 0]) if mask is None else mask[:, None].to(dtype)
    total_k = torch.einsum("bhmd,bgm->bhd", k, keep)
    incoming = torch.einsum("bhnd,bhd->bhn", q + _EPS, total_k + _EPS)
    outgoing = torch.einsum("bhmd,bhd->bhm", k + _EPS, q.sum(2) + _EPS)
    from_keys = torch.einsum("bhmd,bhm->bhd", k, keep / outgoing)
    from_queries = torch.einsum("bhnd,bhn->bhd", q, 1 / incoming)
    conserved_in = torch.einsum("bhnd,bhd->bhn", q + _EPS, from_keys + _EPS)
    conserved_out = torch.einsum("bhmd,bhd->bhm", k + _EPS, from_queries + _EPS)
    count = keep.sum(-1, keepdim=True).clamp(min=1)
    allocation = torch.sigmoid(conserved_in * q.shape[2] / count)
    lowest = torch.finfo(dtype).min
    competition = torch.softmax(conserved_out.masked_fill(keep == 0, lowest), -1) * keep * count
    weights = torch.einsum("bhnd,bhmd->bhnm", q, k) * competition[:, :, None]
    weights = weights * (allocation / incoming)[..., None]
    return torch.einsum("bhnm,bhme->bhne", weights, v.to(dtype)).to(v.dtype)


class _Flows(NamedTuple):
    """phi(q), phi(k) and their flows, so that the result is `arriving` q (k^T (`leaving` v))."""

    q: Tensor
    k: Tensor
    arriving: Tensor  # (b, h, n, 1): m sigmoid(R n / m) / I
    leaving: Tensor  # (b, h, m, 1): softmax(C), zero for masked keys


def _flows(q: Tensor, k: Tensor, mask: Tensor | None) -> _Flows:
    # In float32 at least: sums over many tokens and their reciprocals leave the range of 16 bits.
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k = torch.sigmoid(q.to(dtype)), torch.sigmoid(k.to(dtype))
    kept = None if mask is None else mask[:, None, :, None]
    count = key_count(k, mask)
    incoming = _through(q, (k if kept is None else k * kept).sum(2, keepdim=True))
    outgoing = _through(k, q.sum(2, keepdim=True))
    share = outgoing.reciprocal()
    from_keys = (k * (share if kept is None else share * kept)).sum(2, keepdim=True)
    allocation = torch.sigmoid(_through(q, from_keys) * (q.shape[2] / count))
    conserved = _through(k, (q / incoming).sum(2, keepdim=True))
    if kept is not None:
        conserved = conserved.masked_fill(~kept, torch.finfo(dtype).min)
    leaving = torch.softmax(conserved, 2)
    return _Flows(q, k, allocation / incoming * count, leaving if kept is None else leaving * kept)


def _through(x: Tensor, total: Tensor) -> Tensor:
    """Flow between each token and all others: (b, h, n, d), (b, h, 1, d) -> (b, h, n, 1)."""
    return ((x + _EPS) * (total + _EPS)).sum(-1, keepdim=True)


def _tokens_pays(call: Call) -> str | None:
    return avoids_copies(call) or scores_cost_less(call)


@register("flow", "tokens", priority=30, supports=cpu_only, pays=_tokens_pays)
def _tokens(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q (k^T v) on q, k, v as they lie in memory."""
    found = _flows(q, k, mask)
    return (apply(found.q, outer(found.k, found.leaving * v)) * found.arriving).to(v.dtype)


@register("flow", "factored", priority=20, pays=scores_cost_less)
def _factored(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q (k^T v) in plain torch operations, linear in the number of tokens."""
    found = _flows(q, k, mask)
    total = found.k.transpose(-2, -1) @ (found.leaving * v)
    return (found.q @ total * found.arriving).to(v.dtype)


@register("flow", "scores", priority=10)
def _scores(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """(q k^T) v, cheaper for few tokens."""
    found = _flows(q, k, mask)
    scores = found.q @ found.k.transpose(-2, -1)
    return (scores @ (found.leaving * v) * found.arriving).to(v.dtype)
