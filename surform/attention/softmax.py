"""Scaled dot-product attention (Vaswani et al., "Attention Is All You Need", 2017)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.rules import qkv
from surform.attention.softmax_blocks import blocks_pay, blocks_support, softmax_blocks
from surform.attention.softmax_scores import pays, softmax_scores, supports

__all__ = ["softmax"]


@kind("softmax", qkv)
def softmax(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "*keep"] | None = None,
    bias: Float[Tensor, "*score"] | None = None,
    scale: float | None = None,
    causal: bool = False,
    dropout_p: float = 0.0,
    second_order: bool = False,
) -> Float[Tensor, "b h n e"]:
    """softmax(q k^T scale + bias) v.

    Args:
        mask: True = keep; (b, m) over keys, or (b or 1, h or 1, n or 1, m). A query that keeps no
            key gives zeros, and so do its gradients.
        bias: added to the scores, broadcastable to (b, h, n, m).
        scale: None = 1/sqrt(d).
        causal: query i sees keys 0..i.
        dropout_p: share of the weights dropped, always applied; pass 0 in eval mode.
        second_order: the result will be differentiated twice (forces, physics losses).

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("softmax", q, k, v)
    if mask is not None:
        if mask.ndim == 2:
            check_key_mask("softmax", mask, k)
            mask = mask[:, None, None, :]
        _check_score_shape("mask", mask, q, k)
        if mask.dtype != torch.bool:
            raise ValueError(
                f"softmax attention: mask is {mask.dtype}, expected bool (True = keep)"
            )
    if bias is not None:
        _check_score_shape("bias", bias, q, k)
        check_same_numbers("softmax", q, bias)
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"softmax attention: dropout_p is {dropout_p}, expected 0 <= p < 1")
    return dispatch(
        "softmax",
        {"q": q, "k": k, "v": v, "mask": mask, "bias": bias},
        {"scale": scale, "causal": causal, "dropout_p": dropout_p, "second_order": second_order},
    )


def _check_score_shape(name: str, tensor: Tensor, q: Tensor, k: Tensor) -> None:
    whole = (*q.shape[:3], k.shape[2])
    fits = tensor.ndim <= 4 and all(
        have in (1, want)
        for have, want in zip(reversed(tensor.shape), reversed(whole), strict=False)
    )
    if not fits:
        raise ValueError(
            f"softmax attention: {name} has shape {tuple(tensor.shape)}, which does not broadcast "
            f"to (batch, heads, queries, keys) = {tuple(whole)}"
        )


@register("softmax", "reference", priority=0)
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """The definition, literally."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    keep = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
    if causal:
        keep = keep.tril()
    if mask is not None:
        keep = keep & mask
    nothing = ~keep.any(-1, keepdim=True)
    scores = scores.masked_fill(~keep, float("-inf")).masked_fill(nothing, 0.0)
    weights = torch.softmax(scores, dim=-1).masked_fill(nothing, 0.0)
    return torch.dropout(weights, dropout_p, train=dropout_p > 0.0) @ v


def _additive(q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool):
    """(attn_mask, is_causal) as torch wants them: one mask, and none beside is_causal."""
    if mask is None and bias is None:
        return None, causal
    if causal:
        below = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        mask = below if mask is None else mask & below
    if bias is None:
        return mask, False
    return (bias if mask is None else torch.where(mask, bias, float("-inf"))), False


def _not_twice(call: Call) -> str | None:
    return "the fused kernels have no second derivative" if call.has("second_order") else None


@register("softmax", "sdpa", priority=20, supports=_not_twice)
def _sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """torch's fused kernels: the scores are never written to memory."""
    both, causal = _additive(q, k, mask, bias, causal)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=both, dropout_p=dropout_p, is_causal=causal, scale=scale
    )
    if not torch.compiler.is_compiling() and "ScaledDotProduct" in type(out.grad_fn).__name__:
        out.grad_fn.register_hook(_gradients_are_final)  # type: ignore[union-attr]
    return out


def _gradients_are_final(grads: tuple, outer: tuple) -> tuple:
    """A sentence in place of torch's when they are differentiated after all."""
    return tuple(
        grad if grad is None or not grad.requires_grad else _Final.apply(grad) for grad in grads
    )


class _Final(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> None:
        raise ValueError(
            "softmax attention: torch's fused kernels have no second derivative; run the forward "
            "pass under surform.attention.use(second_order=True)"
        )


def _first_order_only(call: Call) -> str | None:
    return None if call.has("second_order") else "only second derivatives need it"


@register("softmax", "sdpa_math", priority=10, pays=_first_order_only)
def _sdpa_math(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """torch's composite of plain operations: quadratic memory, derivatives of every order."""
    both, causal = _additive(q, k, mask, bias, causal)
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=both, dropout_p=dropout_p, is_causal=causal, scale=scale
        )


def _flex_supports(call: Call) -> str | None:
    if call.device != "cuda":
        return "runs on CUDA only"
    if call.dtype == torch.float64:
        return "has no float64"
    if call.has("second_order"):
        return "has no second derivative"
    if call.has("bias") or call.has("dropout_p"):
        return "is used for masks only, without bias and dropout"
    if min(call.shapes["q"][3], call.shapes["v"][3]) < 16:
        return "needs heads of width 16 or more"
    return None


def _flex_pays(call: Call) -> str | None:
    if call.has("mask") and call.has("causal"):
        return None
    return "pays only where sdpa would have to write out a causal mask combined with another"


@register("softmax", "flex", priority=30, supports=_flex_supports, pays=_flex_pays)
def _flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """FlexAttention: whole blocks that a mask excludes are skipped.  Not yet timed on a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask

    b, h, n, m = *q.shape[:3], k.shape[2]
    keep = None if mask is None else mask.expand(b, h, n, m)

    def kept(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        below = query >= key if causal else query >= 0
        return below if keep is None else below & keep[batch, head, query, key]

    blocks = create_block_mask(kept, b, h, n, m, device=str(q.device))
    return _compiled_flex()(q, k, v, block_mask=blocks, scale=scale)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


register("softmax", "scores", priority=40, supports=supports, pays=pays)(softmax_scores)
register("softmax", "blocks", priority=50, supports=blocks_support, pays=blocks_pay)(softmax_blocks)
