"""Values -> kernel integral -> norm -> output projection, one head at a time.

Head by head everything between the two linear maps fits into the processor's caches, and nothing of
the width heads * dim_head is ever stored; the backward pass recomputes it the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform import attention
from surform.attention.dispatch import requested
from surform.attention.slabs import contract
from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.scratch import scratch
from surform.operators.headwise_backward import HeadwiseGradient
from surform.operators.out_norm import OutNorm

__all__ = ["mix_axes"]


def mix_axes(
    u: Float[Tensor, "b *grid c"],
    to_value: Float[Tensor, "inner c"],
    to_out: Float[Tensor, "o features"],
    kernels: Sequence[Float[Tensor, "b h n n"]],
    norm: OutNorm,
    parallel: bool = False,
) -> Float[Tensor, "b *grid o"]:
    """norm(axial(u to_value^T, kernels)) to_out^T.

    to_out's columns are head-major: (h, dim_head), or (h, axis, dim_head) when parallel, where the
    norm takes each axis of a head for a head of its own.
    """
    values = to_value.unflatten(0, (kernels[0].shape[1], -1))  # (h, d, c)
    outs = to_out.t().unflatten(0, (-1, values.shape[1]))  # (h, d, o) or (h * axes, d, o)
    if works_in_blocks(u) and requested("axial") is None:
        return _Headwise.apply(norm, parallel, u, values, outs, *kernels)  # type: ignore[no-any-return]
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
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        *kernels: Tensor,
    ) -> Tensor:
        samples = [
            _forward_sample(norm, parallel, u[b], values, outs, [k[b] for k in kernels])
            for b in range(u.shape[0])
        ]
        first = [sample[0] for sample in samples]
        y = first[0][None] if len(first) == 1 else torch.stack(first)
        ctx.norm, ctx.parallel = norm, parallel
        ctx.save_for_backward(
            u,
            values,
            outs,
            torch.stack([sample[1] for sample in samples]),
            torch.stack([sample[2] for sample in samples]),
            y if norm.over_heads else u.new_empty(0),
            *kernels,
        )
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        u, values, outs, mean, scale, y, *kernels = ctx.saved_tensors
        norm, parallel = ctx.norm, ctx.parallel
        inputs = [u, values, outs, *kernels]
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                lambda *x: _mix(norm, parallel, *x), inputs, ctx.needs_input_grad[2:], outer[0]
            )
            return (None, None, *found)
        grads = [torch.zeros_like(x) for x in inputs]
        for b in range(u.shape[0]):
            gradient = HeadwiseGradient(norm, u[b], values, outs, mean[b], scale[b])
            gradient.add_to(
                [grads[0][b], *grads[1:3], *(g[b] for g in grads[3:])],
                [k[b] for k in kernels],
                y[b] if norm.over_heads else y,
                outer[0][b],
                parallel,
            )
        return (None, None, *grads)


def _integrals(
    rows: Tensor, grid: Sequence[int], values: Tensor, kernels: list[Tensor], parallel: bool
) -> Iterator[Tensor]:
    """Per head, or per head and axis when parallel: K ... v (*grid, d), in reused memory."""
    v, first, second = scratch(3, (*grid, values.shape[1]), rows)
    for h, value in enumerate(values):
        torch.mm(rows, value.t(), out=v.view(rows.shape[0], -1))
        now = v
        for axis, kernel in enumerate(kernels):
            out = second if now is first else first
            contract(kernel[h], v if parallel else now, axis, out)
            now = out
            if parallel:
                yield out
        if not parallel:
            yield now


def _forward_sample(
    norm: OutNorm, parallel: bool, u: Tensor, values: Tensor, outs: Tensor, kernels: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """y (*grid, o), and means and scales that broadcast against (h, *grid, d)."""
    grid, rows = u.shape[:-1], u.reshape(-1, u.shape[-1])
    dims = norm.grid_dims(len(grid))
    y = u.new_zeros(rows.shape[0], outs.shape[-1])
    means, squares = [], []
    count = 1
    for h, q in enumerate(_integrals(rows, grid, values, kernels, parallel)):
        mean = q.mean(dims, keepdim=True)
        q.sub_(mean)
        square = _squares(q, dims)
        count = q.numel() // square.numel()
        means.append(mean)
        squares.append(square)
        out = outs[h]
        if not norm.over_heads:
            out = _scale(norm, square, count).view(-1, 1) * out
        y.addmm_(q.view(rows.shape[0], -1), out)
    mean, square = torch.stack(means), torch.stack(squares)
    y = y.view(*grid, -1)
    if not norm.over_heads:
        return y, mean, _scale(norm, square, count)
    # each head was centred by its own mean: move all to the common one
    common = mean.mean(0, keepdim=True)
    shift = mean - common
    square = square.sum(0, keepdim=True) + count * shift.square().sum(0, keepdim=True)
    scale = _scale(norm, square, count * outs.shape[0])
    y.add_(torch.einsum("h...i,ho->...o", shift, outs.sum(1))).mul_(scale[0])
    return y, common, scale


def _squares(q: Tensor, dims: tuple[int, ...]) -> Tensor:
    if dims[-1] == q.ndim - 1:  # contiguous runs: the vectorised norm needs no temporary
        return torch.linalg.vector_norm(q, dim=dims, keepdim=True).square()
    return q.square().sum(dims, keepdim=True)


def _scale(norm: OutNorm, square: Tensor, count: int) -> Tensor:
    return (square / norm.degrees(count) + norm.eps).rsqrt()
