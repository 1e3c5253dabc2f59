"""Values -> kernel integral -> norm -> output projection: axial attention between linear maps.

On the CPU in blocks of tokens and one head after the other, so that every product finds its
operands in the caches; for the backward pass the contracted values are kept, or recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform import attention
from surform.attention.dispatch import requested
from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.pages import large_empty
from surform.operators.headwise_backward import HeadwiseGradient
from surform.operators.headwise_forward import HeadwiseForward
from surform.operators.out_norm import OutNorm

__all__ = ["mix_axes"]


def mix_axes(
    u: Float[Tensor, "b *grid c"],
    to_value: Float[Tensor, "inner c"],
    to_out: Float[Tensor, "o features"],
    kernels: Sequence[Float[Tensor, "b h _ _"]],
    norm: OutNorm,
    parallel: bool = False,
    recompute: bool = False,
) -> Float[Tensor, "b *grid o"]:
    """norm(axial(u to_value^T, kernels)) to_out^T.

    recompute: keep nothing of the heads' width for the backward pass (CPU): less memory, more time.
    to_out's columns are head-major: (h, dim_head), or (h, axis, dim_head) when parallel, where the
    norm takes each axis of a head for a head of its own.
    """
    values = to_value.unflatten(0, (kernels[0].shape[1], -1))  # (h, d, c)
    outs = to_out.t().unflatten(0, (-1, values.shape[1]))  # (h, d, o) or (h * axes, d, o)
    if works_in_blocks(u) and requested("axial") is None:
        tensors = (u, values, outs, *kernels)
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and not recompute
        return _Headwise.apply(norm, parallel, keep, *tensors)  # type: ignore[no-any-return]
    return _mix(norm, parallel, u, values, outs, *kernels)


def _mix(
    norm: OutNorm, parallel: bool, u: Tensor, values: Tensor, outs: Tensor, *kernels: Tensor
) -> Tensor:
    """The plain expression: any device, any dtype, differentiable to any order."""
    half = torch.float16
    if u.dtype == half or kernels[0].dtype == half:  # unnormalised kernel sums overflow in float16
        with torch.autocast(u.device.type, enabled=False):
            wide = [x.float() for x in (u, values, outs, *kernels)]
            return _mix(norm, parallel, *wide).to(u.dtype)
    v = F.linear(u, values.flatten(0, 1)).unflatten(-1, (values.shape[0], -1)).movedim(-2, 1)
    p = attention.axial(v, [k.to(v.dtype) for k in kernels], parallel=parallel)
    if parallel:
        p = p.movedim(-1, 2).flatten(1, 2)
    q = norm.apply(p)  # (b, h, *grid, d)
    return F.linear(q.movedim(1, -2).flatten(-2), outs.flatten(0, 1).t())


class _Headwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        norm: OutNorm,
        parallel: bool,
        keep: bool,
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        *kernels: Tensor,
    ) -> Tensor:
        slots = (len(values), len(kernels) + 1, *u.shape[1:-1], values.shape[1])
        kept = [large_empty(slots, u) for _ in u] if keep else []
        samples = [
            HeadwiseForward(norm, parallel, u[b], values, outs, kept[b] if keep else None)
            for b in range(len(u))
        ]
        first = [one.run([k[b] for k in kernels]) for b, one in enumerate(samples)]
        y = first[0][None] if len(first) == 1 else torch.stack(first)
        ctx.norm, ctx.parallel = norm, parallel
        ctx.save_for_backward(
            u,
            values,
            outs,
            torch.stack([one.mean for one in samples]),
            torch.stack([one.scale for one in samples]),
            y if norm.over_heads else u.new_empty(0),
            *kernels,
            *kept,
        )
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        u, values, outs, mean, scale, y, *rest = ctx.saved_tensors
        norm, parallel = ctx.norm, ctx.parallel
        kernels, kept = rest[: u.ndim - 2], rest[u.ndim - 2 :]
        inputs = [u, values, outs, *kernels]
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                lambda *x: _mix(norm, parallel, *x), inputs, ctx.needs_input_grad[3:], outer[0]
            )
            return (None, None, None, *found)
        grads = [torch.zeros_like(x) for x in inputs]
        for b in range(len(u)):
            gradient = HeadwiseGradient(norm, parallel, u[b], values, outs, mean[b], scale[b])
            gradient.add_to(
                [grads[0][b], *grads[1:3], *(g[b] for g in grads[3:])],
                [k[b] for k in kernels],
                y[b] if norm.over_heads else y,
                outer[0][b],
                kept[b] if kept else None,
            )
        return (None, None, None, *grads)
