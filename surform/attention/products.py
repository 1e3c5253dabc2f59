"""The two products that linear attention is made of, on tokens as they lie in memory, for CPUs.

Heads cut out of (b, n, h * d) are strided views; `torch.matmul` copies such tensors whole when
b > 1.  These operators walk over blocks of tokens instead, write results in the layout of their
first argument (so that merging heads costs nothing either), and are closed under differentiation:
each one's gradients are the same two products again, to any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["apply", "outer"]

_BLOCK = 2**18  # numbers of one operand in a block of tokens: 1 MB of float32, within a core's L2


def _flat(x: Tensor) -> bool:
    """Whether (b, h) is one batch axis without a copy."""
    return x.shape[0] == 1 or x.shape[1] == 1 or x.stride(0) == x.stride(1) * x.shape[1]


def _plain(*tensors: Tensor) -> bool:
    """Whether one batched product is best: no copies, or 16-bit numbers that must not be summed
    block by block."""
    return all(_flat(x) for x in tensors) or tensors[0].dtype.itemsize < 4


def _blocks(x: Tensor) -> range:
    return range(0, x.shape[2], max(64, _BLOCK // max(x.shape[1] * x.shape[3], 1)))


def _weights(mask: Tensor, b: int, part: slice, like: Tensor) -> Tensor:
    return mask[b if mask.shape[0] > 1 else 0, None, part, None].to(like.dtype)


def outer(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """sum over tokens n of a_n b_n^T: (b, h, n, d), (b, h, n, e) -> (b, h, d, e), contiguous.

    mask (b or 1, n): True = the token counts.
    """
    return _outer(a, b, mask)


def apply(a: Tensor, s: Tensor, mask: Tensor | None = None) -> Tensor:
    """a_n s for every token n: (b, h, n, d), (b, h, d, e) -> (b, h, n, e), laid out as `a`.

    mask (b or 1, n): other tokens give zeros.
    """
    return _apply(a, s, mask)


# The operators below take every argument: autograd counts the ones that a call passes.
@torch.library.custom_op(
    "surform::token_outer", mutates_args=(), schema="(Tensor a, Tensor b, Tensor? mask) -> Tensor"
)
def _outer(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None and _plain(a, b):
        return torch.matmul(a.transpose(-2, -1), b).contiguous()
    out = a.new_zeros(*a.shape[:2], a.shape[3], b.shape[3], dtype=_sum_dtype(a))
    blocks = _blocks(a)
    for i in range(a.shape[0]):
        for start in blocks:
            part = slice(start, start + blocks.step)
            left = a[i, :, part]
            if mask is not None:
                left = left * _weights(mask, i, part, a)
            if out.dtype == a.dtype:
                out[i].baddbmm_(left.transpose(-2, -1), b[i, :, part])
            else:
                out[i] += torch.bmm(left.transpose(-2, -1), b[i, :, part])
    return out.to(a.dtype)


def _sum_dtype(a: Tensor) -> torch.dtype:
    return torch.float32 if a.dtype.itemsize < 4 else a.dtype


def _like(a: Tensor, width: int) -> Tensor:
    """Uninitialised (b, h, n, width), heads inside or outside of tokens as in `a`."""
    b, h, n, _ = a.shape
    if h > 1 and a.stride(1) < a.stride(2):
        return a.new_empty(b, n, h, width).transpose(1, 2)
    return a.new_empty(b, h, n, width)


@torch.library.custom_op(
    "surform::token_apply", mutates_args=(), schema="(Tensor a, Tensor s, Tensor? mask) -> Tensor"
)
def _apply(a: Tensor, s: Tensor, mask: Tensor | None) -> Tensor:
    out = _like(a, s.shape[3])
    blocks = _blocks(a)
    if a.is_contiguous() and out.is_contiguous():
        torch.matmul(a, s, out=out)
    else:
        for i in range(a.shape[0]):
            for start in blocks:
                part = slice(start, start + blocks.step)
                torch.bmm(a[i, :, part], s[i], out=out[i, :, part])
    if mask is not None:
        out *= mask[:, None, :, None]
    return out


@_outer.register_fake
def _outer_shape(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    return a.new_empty(*a.shape[:2], a.shape[3], b.shape[3])


@_apply.register_fake
def _apply_shape(a: Tensor, s: Tensor, mask: Tensor | None) -> Tensor:
    return _like(a, s.shape[3])


def _keep(ctx, inputs, output) -> None:
    first, second, mask = inputs
    ctx.save_for_backward(first, second, mask)


def _outer_backward(ctx, grad: Tensor):
    a, b, mask = ctx.saved_tensors
    need_a, need_b, _ = ctx.needs_input_grad
    return (
        apply(b, grad.transpose(-2, -1), mask) if need_a else None,
        apply(a, grad, mask) if need_b else None,
        None,
    )


def _apply_backward(ctx, grad: Tensor):
    a, s, mask = ctx.saved_tensors
    need_a, need_s, _ = ctx.needs_input_grad
    return (
        apply(grad, s.transpose(-2, -1), mask) if need_a else None,
        outer(a, grad, mask) if need_s else None,
        None,
    )


_outer.register_autograd(_outer_backward, setup_context=_keep)
_apply.register_autograd(_apply_backward, setup_context=_keep)
