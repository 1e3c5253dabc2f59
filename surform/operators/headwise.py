"""Values -> kernel integral -> norm -> output projection, one head at a time.

Head by head everything between the two linear maps fits into the processor's caches and nothing of
the width heads * dim_head is ever stored; the backward pass recomputes it the same way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform import attention
from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.operators.out_norm import OutNorm

__all__ = ["mix_axes"]


def mix_axes(
    u: Float[Tensor, "b *grid c"],
    to_value: Float[Tensor, "inner c"],
    to_out: Float[Tensor, "o features"],
    kernels: list[Float[Tensor, "b h n n"]],
    norm: OutNorm,
    parallel: bool = False,
) -> Float[Tensor, "b *grid o"]:
    """norm(axial(u to_value^T, kernels)) to_out^T.

    to_out's columns are head-major: (h, dim_head), or (h, axis, dim_head) when parallel.
    """
    heads = kernels[0].shape[1]
    values = to_value.unflatten(0, (heads, -1))  # (h, d, c)
    outs = _head_columns(to_out, heads, values.shape[1], parallel)  # (h, f, o)
    if works_in_blocks(u):
        return _Headwise.apply(norm, parallel, u, values, outs, *kernels)  # type: ignore[no-any-return]
    return _mix(norm, parallel, u, values, outs, *kernels)


def _head_columns(to_out: Tensor, heads: int, dim_head: int, parallel: bool) -> Tensor:
    """(o, features) -> (h, f, o); f = dim_head, or (dim_head, axis) in `axial`'s order."""
    columns = to_out.t().unflatten(0, (heads, -1, dim_head))  # (h, axes, d, o)
    return columns.transpose(1, 2).flatten(1, 2) if parallel else columns.squeeze(1)


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
    q = norm.apply(p.flatten(-2) if parallel else p)  # (b, h, *grid, f)
    return F.linear(q.movedim(1, -2).flatten(-2), outs.flatten(0, 1).t())


def _integral(v: Tensor, kernels: list[Tensor], parallel: bool) -> Tensor:
    """One head of one sample: v (*grid, d), kernels (n, n) -> (*grid, f)."""
    p = attention.axial(v[None, None], [k[None, None] for k in kernels], parallel=parallel)
    return (p.flatten(-2) if parallel else p)[0, 0].contiguous()


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
        y = samples[0][0][None] if len(samples) == 1 else torch.stack([s[0] for s in samples])
        ctx.norm, ctx.parallel = norm, parallel
        ctx.save_for_backward(
            u,
            values,
            outs,
            torch.stack([s[1] for s in samples]),
            torch.stack([s[2] for s in samples]),
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
            _Backward(norm, parallel, u[b], values, outs, mean[b], scale[b], grads, b).run(
                [k[b] for k in kernels], y[b] if norm.over_heads else y, outer[0][b]
            )
        return (None, None, *grads)


def _forward_sample(
    norm: OutNorm, parallel: bool, u: Tensor, values: Tensor, outs: Tensor, kernels: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """y (*grid, o), and means and scales that broadcast against (h, *grid, f)."""
    grid, rows, rank = u.shape[:-1], u.reshape(-1, u.shape[-1]), u.ndim - 1
    dims = norm.grid_dims(rank)
    y = u.new_zeros(rows.shape[0], outs.shape[-1])
    means, squares = [], []
    for h in range(values.shape[0]):
        v = (rows @ values[h].t()).view(*grid, -1)
        q = _integral(v, [k[h] for k in kernels], parallel)
        mean = q.mean(dims, keepdim=True)
        q.sub_(mean)
        square = _squares(q, dims)
        means.append(mean)
        squares.append(square)
        out = outs[h]
        if not norm.over_heads:
            scale = _scale(norm, square, q.numel() // square.numel())
            out = scale.reshape(-1, 1) * out
        y.addmm_(q.view(rows.shape[0], -1), out)
    mean, square = torch.stack(means), torch.stack(squares)
    y = y.view(*grid, -1)
    count = rows.shape[0] * outs.shape[1] // square[0].numel()
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


class _Backward:
    """Gradients of one sample, added to `grads` = [u, values, outs, *kernels]."""

    def __init__(
        self,
        norm: OutNorm,
        parallel: bool,
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        mean: Tensor,
        scale: Tensor,
        grads: list[Tensor],
        sample: int,
    ) -> None:
        self.norm, self.parallel = norm, parallel
        self.grid, self.rows = u.shape[:-1], u.reshape(-1, u.shape[-1])
        self.values, self.outs, self.mean, self.scale = values, outs, mean, scale
        self.du = grads[0][sample].view(-1, u.shape[-1])
        self.dvalues, self.douts = grads[1], grads[2]
        self.dkernels = [g[sample] for g in grads[3:]]

    def run(self, kernels: list[Tensor], y: Tensor, dy: Tensor) -> None:
        norm, outs = self.norm, self.outs
        dims = norm.grid_dims(len(self.grid))
        count = self.rows.shape[0] * outs.shape[1] * (outs.shape[0] if norm.over_heads else 1)
        count //= self.scale[0].numel()
        if norm.over_heads:  # sums over all heads follow from y and dy alone
            dy_sum = dy.sum(dims[:-1], keepdim=True)
            total = (dy_sum * outs.sum((0, 1))).sum(-1, keepdim=True)
            product = (dy * y).sum(dims, keepdim=True)
            dy = dy * self.scale[0]
        else:
            dy_sum = dy.sum(dims[: len(self.grid)], keepdim=True).flatten()
        dy = dy.reshape(self.rows.shape[0], -1)
        for h in range(outs.shape[0]):
            scale = self.scale[0 if norm.over_heads else h]
            with torch.enable_grad():
                v = (self.rows @ self.values[h].t()).view(*self.grid, -1).requires_grad_()
                leaves = [k[h].detach().requires_grad_() for k in kernels]
                p = _integral(v, leaves, self.parallel)
            q = (p.detach() - self.mean[0 if norm.over_heads else h]).view(self.rows.shape[0], -1)
            dout = q.t() @ dy  # (f, o), short of the scale when it is this head's own
            out = outs[h]
            if not norm.over_heads:
                dout = dout * scale.view(-1, 1)
                total, product = out @ dy_sum, (out * dout).sum(1)
                if not norm.keep_features:
                    total, product = total.sum(), product.sum()
                total, product = total.view(scale.shape), product.view(scale.shape)
                out = out * scale.view(-1, 1)
            self.douts[h] += dout
            slope = -product * scale.square() / norm.degrees(count)
            offset = -total * scale / count
            q = q.view(p.shape)
            q.mul_(slope).add_(offset)
            dp = q.view(self.rows.shape[0], -1).addmm_(dy, out.t())
            dv, *dkernels = torch.autograd.grad(p, [v, *leaves], dp.view(p.shape))
            for total_kernel, part in zip(self.dkernels, dkernels, strict=True):
                total_kernel[h] = part
            dv = dv.reshape(self.rows.shape[0], -1)
            self.dvalues[h].addmm_(dv.t(), self.rows)
            self.du.addmm_(dv, self.values[h])
