"""Values -> kernel integral -> norm -> output projection: axial attention between linear maps.

On the CPU a few samples at a time and in blocks that fit into the caches, with all heads in few
calls; for the backward pass the contracted values are kept, or recomputed.
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
from surform.layers.recomputed import recomputed
from surform.operators.headwise_backward import HeadwiseGradient
from surform.operators.headwise_forward import integrate, project
from surform.operators.kernel_integral import KernelIntegral, sample_groups
from surform.operators.out_norm import OutNorm

__all__ = ["mix_axes", "mix_plainly"]


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

    recompute: keep nothing of the heads' width for the backward pass: less memory, more time.
    to_out's columns are head-major: (h, head_dim), or (h, axis, head_dim) when parallel, where the
    norm takes each axis of a head for a head of its own.
    """
    values = to_value.unflatten(0, (kernels[0].shape[1], -1))  # (h, d, c)
    outs = to_out.t().unflatten(0, (-1, values.shape[1]))  # (h, d, o) or (h * axes, d, o)
    if works_in_blocks(u) and requested("axial") is None:
        tensors = (u, values, outs, *kernels)
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and not recompute
        return _Headwise.apply(norm, parallel, keep, *tensors)  # type: ignore[no-any-return]
    if recompute:
        return recomputed(mix_plainly, norm, parallel, u, values, outs, *kernels)
    return mix_plainly(norm, parallel, u, values, outs, *kernels)


def mix_plainly(
    norm: OutNorm, parallel: bool, u: Tensor, values: Tensor, outs: Tensor, *kernels: Tensor
) -> Tensor:
    """The plain expression: any device, any dtype, differentiable to any order."""
    half = torch.float16
    if u.dtype == half or kernels[0].dtype == half:  # unnormalised kernel sums overflow in float16
        with torch.autocast(u.device.type, enabled=False):
            wide = [x.float() for x in (u, values, outs, *kernels)]
            return mix_plainly(norm, parallel, *wide).to(u.dtype)
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
        groups = sample_groups(u, len(values) * values.shape[1])
        y = large_empty((*u.shape[:-1], outs.shape[-1]), u)
        moments, kept = [], []
        for group in groups:
            integral = KernelIntegral(parallel, u[group], values, [k[group] for k in kernels])
            memory = integral.memory(overlap=not keep)
            mean, scale = integrate(norm, integral, *memory)
            project(norm, integral, memory[1], outs, mean, scale, y[group])
            moments += [mean, scale]
            kept += memory if keep else []
        ctx.norm, ctx.parallel, ctx.groups, ctx.keep = norm, parallel, groups, keep
        saved = [y] if norm.over_heads else []
        ctx.save_for_backward(u, values, outs, *kernels, *moments, *kept, *saved)
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        norm, parallel, groups = ctx.norm, ctx.parallel, ctx.groups
        saved = ctx.saved_tensors  # under activation checkpointing they are given once
        rank = saved[0].ndim - 2
        inputs, rest = saved[: rank + 3], saved[rank + 3 :]
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                lambda *x: mix_plainly(norm, parallel, *x),
                inputs,
                ctx.needs_input_grad[3:],
                outer[0],
            )
            return (None, None, None, *found)
        u, values, outs, *kernels = inputs
        grads = [
            large_empty(u.shape, u),
            *(torch.zeros(x.shape, dtype=x.dtype) for x in inputs[1:]),
        ]
        pairs = [rest[i : i + 2] for i in range(0, len(rest) - 1, 2)]
        moments, kept = pairs[: len(groups)], pairs[len(groups) :]
        for i, group in enumerate(groups):
            integral = KernelIntegral(parallel, u[group], values, [k[group] for k in kernels])
            memory = kept[i] if ctx.keep else integral.filled_memory()
            gradient = HeadwiseGradient(norm, integral, outs, *moments[i], *memory)
            gradient.add_to(
                [grads[0][group], *grads[1:3], *(g[group] for g in grads[3:])],
                rest[-1][group] if norm.over_heads else outer[0][group],
                outer[0][group],
            )
        return (None, None, None, *grads)
