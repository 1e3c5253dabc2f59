"""Galerkin attention with the layer norms of k and v inside: normalised k, v need not be written.

Cao, "Choose a Transformer: Fourier or Galerkin", 2021 (arXiv 2105.14995), equation 7 and figure 1:
every head has its own layer norm, and coordinates stand in front of the features of every head.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import certainly, check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
from surform.attention.products import apply, outer
from surform.attention.rules import cpu_only, key_count, mean_product, not_exporting

__all__ = ["normalized_linear"]

_SMALL = 2**18  # numbers of k
Affine: TypeAlias = tuple[Tensor, Tensor]


def _example(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple[Tensor, ...], dict]:
    q, k, v = (make(sizes.batch, sizes.heads, sizes.tokens, sizes.width) for _ in range(3))
    weights = [(make(sizes.heads, sizes.width), make(sizes.heads, sizes.width)) for _ in range(2)]
    return (q, k, v), {"norm_k": weights[0], "norm_v": weights[1]}


@kind("normalized_linear", _example)
def normalized_linear(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    norm_k: tuple[Float[Tensor, "h d"], Float[Tensor, "h d"]],
    norm_v: tuple[Float[Tensor, "h e"], Float[Tensor, "h e"]],
    eps: float = 1e-5,
    coordinates: Float[Tensor, "b n p"] | None = None,
    normalizer: Literal["length", "none"] = "length",
    mask: Bool[Tensor, "b m"] | None = None,
    score_dropout: Float[Tensor, "b h d_p e_p"] | None = None,
    second_order: bool = False,
) -> Float[Tensor, "b h n e_p"]:
    """[x q] ([x LN(k)]^T [x LN(v)]) / m with one layer norm per head; x are the coordinates.

    Args:
        norm_k, norm_v: (weight, bias) of the layer norm of each head.
        eps: added to the variance.
        coordinates: put in front of q and of normalised k and v; queries and keys are then the
            same tokens (m = n), and the result has width p + e.
        normalizer: "length" divides by m, the number of kept keys; "none" does not.
        mask: True = keep, over keys.
        score_dropout: (b, h, p + d, p + e), multiplies the matrix between q and v.
        second_order: the result will be differentiated twice.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("normalized_linear", q, k, v)
    check_key_mask("normalized_linear", mask, k)
    _check_norm("norm_k", norm_k, k)
    _check_norm("norm_v", norm_v, v)
    check_same_numbers("normalized_linear", q, *norm_k, *norm_v)
    if normalizer not in ("length", "none"):
        raise ValueError(
            f"normalized_linear attention: normalizer {normalizer!r} is neither length nor none"
        )
    p = _check_coordinates(coordinates, q, k)
    if score_dropout is not None:
        want = (*k.shape[:2], p + k.shape[3], p + v.shape[3])
        if score_dropout.shape != want:
            raise ValueError(
                f"normalized_linear attention: score_dropout has shape "
                f"{tuple(score_dropout.shape)}, expected (b, h, p + d, p + e) = {want}"
            )
    return dispatch(
        "normalized_linear",
        {
            "q": q,
            "k": k,
            "v": v,
            "norm_k": norm_k,
            "norm_v": norm_v,
            "coordinates": coordinates,
            "mask": mask,
            "score_dropout": score_dropout,
        },
        {"eps": eps, "normalizer": normalizer, "second_order": second_order},
    )


def _check_norm(name: str, norm: Affine, tensor: Tensor) -> None:
    want = (tensor.shape[1], tensor.shape[3])
    if len(norm) != 2 or any(one.shape != want for one in norm):
        raise ValueError(
            f"normalized_linear attention: {name} has shapes {[tuple(one.shape) for one in norm]}, "
            f"expected (weight, bias) of shape (heads, width) = {want}"
        )


def _check_coordinates(coordinates: Tensor | None, q: Tensor, k: Tensor) -> int:
    if coordinates is None:
        return 0
    if coordinates.ndim != 3 or coordinates.shape[:2] != (q.shape[0], q.shape[2]):
        raise ValueError(
            f"normalized_linear attention: coordinates have shape {tuple(coordinates.shape)}, "
            f"expected (batch, tokens, p) with {(q.shape[0], q.shape[2])} in front"
        )
    if k.shape[2] != q.shape[2]:
        raise ValueError(
            f"normalized_linear attention: coordinates belong to queries and keys alike, but there "
            f"are {q.shape[2]} queries and {k.shape[2]} keys"
        )
    check_same_numbers("normalized_linear", q, coordinates)
    return coordinates.shape[2]


def _in_front(x: Tensor | None, tokens: Tensor) -> Tensor:
    """[x tokens] for every head, heads inside of tokens in memory: (b, h, n, p + d)."""
    if x is None:
        return tokens
    heads = x.unsqueeze(2).expand(*x.shape[:2], tokens.shape[1], x.shape[2])
    return torch.cat([heads, tokens.transpose(1, 2)], dim=-1).transpose(1, 2)


@register("normalized_linear", "reference", priority=0)
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    norm_k: Affine,
    norm_v: Affine,
    coordinates: Tensor | None,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    eps: float,
    normalizer: str,
    second_order: bool,
) -> Tensor:
    """The definition, literally."""
    k, v = (_in_front(coordinates, _norm(x, w, eps)) for x, w in ((k, norm_k), (v, norm_v)))
    if mask is not None:
        k = k * mask[:, None, :, None]
    if normalizer == "none":
        score = k.transpose(-2, -1) @ v
    else:
        score = mean_product(lambda k, v: k.transpose(-2, -1) @ v, k, v, mask)
    if score_dropout is not None:
        score = score * score_dropout
    return _in_front(coordinates, q) @ score


def _norm(x: Tensor, affine: Affine, eps: float) -> Tensor:
    weight, bias = affine
    if x.shape[1] == 1:
        return _layer_norm(x, eps, weight[0], bias[0])
    return torch.addcmul(bias[:, None], _layer_norm(x, eps), weight[:, None])


def _layer_norm(x: Tensor, eps: float, *affine: Tensor) -> Tensor:
    """Of every token and head, in the layout of x: torch copies what is not contiguous."""
    if x.stride(1) < x.stride(2):
        return F.layer_norm(x.transpose(1, 2), x.shape[-1:], *affine, eps=eps).transpose(1, 2)
    return F.layer_norm(x, x.shape[-1:], *affine, eps=eps)


def _folded_supports(call: Call) -> str | None:
    return cpu_only(call) or ("16-bit numbers" if call.dtype.itemsize < 4 else None)


def _folded_pays(call: Call) -> str | None:
    b, h, n, d = call.shapes["k"]
    if certainly(h == 1):
        return "one head: torch's layer norm applies weight and bias in passing"
    if certainly(n < 512) or certainly(b * h * n * d < _SMALL):
        return "too few numbers for its many small products"
    return not_exporting(call)


@register("normalized_linear", "folded", priority=10, supports=_folded_supports, pays=_folded_pays)
def _folded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    norm_k: Affine,
    norm_v: Affine,
    coordinates: Tensor | None,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    eps: float,
    normalizer: str,
    second_order: bool,
) -> Tensor:
    """Weights and biases of the norms act on the small matrix instead of on every token."""
    a, c = _layer_norm(k, eps), _layer_norm(v, eps)
    b, h, m, _ = k.shape
    x = k.new_empty(b, m, 0) if coordinates is None else coordinates
    x = torch.cat([x.new_ones(b, m, 1), x], dim=-1)[:, None].expand(b, h, m, 1 + x.shape[2])
    (wk, bk), (wv, bv) = ((w[:, :, None], o[:, :, None]) for w, o in (norm_k, norm_v))
    corner = outer(x, x, mask)  # (b, h, 1 + p, 1 + p): count, sum of x, sum of x x^T
    left = outer(a, x, mask) * wk + bk * corner[:, :, :1]  # LN(k)^T [1 x]
    right = outer(x, c, mask) * wv.mT  # [1 x]^T c weight
    core = outer(a, c, mask) * wk * wv.mT + bk * right[:, :, :1] + left[:, :, :, :1] * bv.mT
    right = right + corner[:, :, :, :1] * bv.mT  # [1 x]^T LN(v)
    top = torch.cat([corner[:, :, 1:, 1:], right[:, :, 1:]], dim=-1)
    score = torch.cat([top, torch.cat([left[:, :, :, 1:], core], dim=-1)], dim=-2)
    if normalizer == "length":
        score = score / key_count(k, mask)
    if score_dropout is not None:
        score = score * score_dropout
    return apply(_in_front(coordinates, q), score)


def _triton_supports(call: Call) -> str | None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if call.device != "cuda" and not interpreted:
        return "runs on CUDA only (on a CPU in Triton's interpreter, TRITON_INTERPRET=1)"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if call.dtype == torch.float64:
        return "sums in float32"
    if call.has("second_order"):
        return "has no second derivative"
    p = call.shapes["coordinates"][2] if call.has("coordinates") else 0
    widest = p + max(call.shapes["k"][3], call.shapes["v"][3])
    if widest > 128:
        return f"keeps the matrix of a head in registers: width {widest} is more than 128"
    if 0 in call.shapes["k"] or 0 in call.shapes["v"]:
        return "needs at least one token, head and sample"
    return None


def _triton_pays(call: Call) -> str | None:
    if call.device != "cuda":
        return "the interpreter serves tests only"
    return not_exporting(call)


@register("normalized_linear", "triton", priority=20, supports=_triton_supports, pays=_triton_pays)
def _triton(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    norm_k: Affine,
    norm_v: Affine,
    coordinates: Tensor | None,
    mask: Tensor | None,
    score_dropout: Tensor | None,
    eps: float,
    normalizer: str,
    second_order: bool,
) -> Tensor:
    """k and v are read once, normalised in registers.  Not yet timed on a GPU."""
    from surform.attention.triton.normalized_outer import normalized_outer

    score = normalized_outer(k, v, norm_k, norm_v, coordinates, mask, eps)
    if normalizer == "length":  # in float32 still
        score = score / key_count(k, mask)
    if score_dropout is not None:
        score = score * score_dropout
    return _in_front(coordinates, q) @ score.to(q.dtype)
