"""Softmax attention of very many, very short sequences that lie batch last in memory.

Patches of time series give tens of thousands of sequences of a dozen tokens, a few numbers wide.
The layers around them are single matrix products when the batch is the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform.attention.dispatch import Call, Sizes, dispatch, kind, register

__all__ = ["blocks", "largest", "refuse_second_order", "softmax_batch_last"]
__all__ += ["supports_blocks"]


def _example(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple[Tensor, ...], dict]:
    q, k, v = (make(sizes.heads, sizes.width, sizes.tokens, sizes.batch) for _ in range(3))
    return (q, k, v), {}


@kind("softmax_batch_last", _example)
def softmax_batch_last(
    q: Float[Tensor, "h d n b"],
    k: Float[Tensor, "h d m b"],
    v: Float[Tensor, "h e m b"],
    *,
    scale: float | None = None,
    second_order: bool = False,
) -> Float[Tensor, "h e n b"]:
    """softmax(q k^T scale) v of each sequence: `softmax` for tensors with the batch as last axis.

    Args:
        scale: None = 1/sqrt(d).
        second_order: the result will be differentiated twice.

    Raises:
        ValueError: shapes that do not go together.
    """
    shapes = [tuple(x.shape) for x in (q, k, v)]
    if any(len(shape) != 4 for shape in shapes) or not (
        q.shape[:2] + q.shape[3:] == k.shape[:2] + k.shape[3:]
        and k.shape[:1] + k.shape[2:] == v.shape[:1] + v.shape[2:]
    ):
        raise ValueError(
            "softmax_batch_last attention: q, k, v must be (heads, width, tokens, batch) with "
            f"equal heads and batch, k and v with equal tokens, not {shapes}"
        )
    scale = q.shape[1] ** -0.5 if scale is None else scale
    options = {"scale": scale, "second_order": second_order}
    return dispatch("softmax_batch_last", {"q": q, "k": k, "v": v}, options)


@register("softmax_batch_last", "reference", priority=0)
def _reference(q: Tensor, k: Tensor, v: Tensor, scale: float, second_order: bool) -> Tensor:
    """The definition, literally."""
    scores = torch.einsum("hdnb,hdmb->hnmb", q, k) * scale
    return torch.einsum("hnmb,hemb->henb", torch.softmax(scores, dim=2), v)


def _not_twice(call: Call) -> str | None:
    return "has no second derivative" if call.has("second_order") else None


def _long(call: Call) -> str | None:
    tokens = max(call.shapes["q"][2], call.shapes["k"][2])
    if call.device == "cpu" and tokens <= 96:
        return "on a CPU it walks through heads and sequences one by one"
    return None


@register("softmax_batch_last", "sdpa", priority=10, supports=_not_twice, pays=_long)
def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, second_order: bool) -> Tensor:
    """torch's fused kernels, around which the batch is brought to the front."""
    q, k, v = (x.permute(3, 0, 2, 1) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).permute(1, 3, 2, 0)


def supports_blocks(call: Call) -> str | None:
    """For `supports` of the kernels that bring their own backward pass."""
    if call.device != "cpu" or call.dtype not in (torch.float32, torch.float64):
        return "is written for float32 and float64 on a CPU"
    if call.exporting or torch.compiler.is_compiling():
        return "compilers and exporters get the plain formula"
    return _not_twice(call)


def blocks(batch: int, size: int) -> Iterator[slice]:
    """Consecutive slices of the last axis."""
    return (slice(start, min(start + size, batch)) for start in range(0, batch, size))


def largest(x: Tensor) -> float:
    """The largest absolute value; 0 of nothing."""
    if not x.numel():
        return 0.0
    low, high = x.aminmax()
    return max(-low.item(), high.item())


def refuse_second_order(kernel: str) -> None:
    """In a backward pass: ValueError when it is to be differentiated itself."""
    if torch.is_grad_enabled():
        raise ValueError(
            f"softmax_batch_last attention: the kernel {kernel!r} has no second derivative; run "
            "the forward pass under surform.attention.use(second_order=True)"
        )
