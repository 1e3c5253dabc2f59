"""Values -> kernel integral -> norm -> output projection, one head at a time.

Head by head everything between the two linear maps fits into the processor's caches. Without
gradients nothing of the width heads * dim_head exists; for the backward pass the contracted values
are kept, or recomputed the same way.
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
from surform.layers.pages import large_empty
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
            _Sample(norm, parallel, u[b], values, outs, kept[b] if keep else None)
            for b in range(len(u))
        ]
        first = [one.run([k[b] for k in kernels]) for b, one in enumerate(samples)]
        y = first[0][None] if len(first) == 1 else torch.stack(first)
        ctx.norm, ctx.parallel = norm, parallel
        ctx.save_for_backward(
            u,
            values,
            outs,
            torch.stack([one.shift for one in samples]),
            torch.stack([one.scale for one in samples]),
            y if norm.over_heads else u.new_empty(0),
            *kernels,
            *kept,
        )
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        u, values, outs, shift, scale, y, *rest = ctx.saved_tensors
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
            gradient = HeadwiseGradient(norm, u[b], values, outs, shift[b], scale[b])
            gradient.add_to(
                [grads[0][b], *grads[1:3], *(g[b] for g in grads[3:])],
                [k[b] for k in kernels],
                y[b] if norm.over_heads else y,
                outer[0][b],
                parallel,
                kept[b] if kept else None,
            )
        return (None, None, None, *grads)


class _Sample:
    """The forward pass of one sample: u (*grid, c), values (h, d, c), outs (h, d, o).

    It leaves `scale` and `shift`, which broadcast against (h, *grid, d): the norm's scale, and what
    the backward pass subtracts from a head's integral, kept or recomputed, to centre it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        norm: OutNorm,
        parallel: bool,
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        kept: Tensor | None,
    ) -> None:
        self.norm, self.parallel, self.values, self.outs, self.kept = (
            norm,
            parallel,
            values,
            outs,
            kept,
        )
        self.grid, self.rows = u.shape[:-1], u.reshape(-1, u.shape[-1])

    def run(self, kernels: list[Tensor]) -> Tensor:
        """y (*grid, o)."""
        norm, rows = self.norm, self.rows.shape[0]
        dims = norm.grid_dims(len(self.grid))
        y = self.rows.new_zeros(rows, self.outs.shape[-1])
        means, squares, count = [], [], 1
        for h, q in enumerate(self._integrals(kernels)):
            mean = q.mean(dims, keepdim=True)
            q.sub_(mean)
            square = _squares(q, dims)
            count = q.numel() // square.numel()
            means.append(mean)
            squares.append(square)
            out = self.outs[h]
            if not norm.over_heads:
                out = _scale(norm, square, count).view(-1, 1) * out
            y.addmm_(q.view(rows, -1), out)
        mean, square = torch.stack(means), torch.stack(squares)
        own = torch.zeros_like(mean) if self.kept is None else mean  # kept ones are centred by it
        if not norm.over_heads:
            self.scale, self.shift = _scale(norm, square, count), mean - own
            return y.view(*self.grid, -1)
        # each head was centred by its own mean: move all to the common one
        common = mean.mean(0, keepdim=True)
        gap = mean - common
        square = square.sum(0, keepdim=True) + count * gap.square().sum(0, keepdim=True)
        self.scale, self.shift = _scale(norm, square, count * len(self.outs)), common - own
        y = y.view(*self.grid, -1)
        return y.add_(torch.einsum("h...i,ho->...o", gap, self.outs.sum(1))).mul_(self.scale[0])

    def _integrals(self, kernels: list[Tensor]) -> Iterator[Tensor]:
        """K ... v (*grid, d) per head, or per head and axis when parallel, in reused memory."""
        slots = (*self.grid, self.values.shape[1])
        slabs = scratch(3, slots, self.rows) if self.kept is None else []
        for h, value in enumerate(self.values):
            if self.kept is not None:
                slabs = list(self.kept[h])
            v = slabs[0]
            torch.mm(self.rows, value.t(), out=v.view(self.rows.shape[0], -1))
            before = v
            for axis, kernel in enumerate(kernels):
                # without keeping, two slabs take turns
                out = slabs[axis + 1 if self.kept is not None else 1 + axis % 2]
                contract(kernel[h], v if self.parallel else before, axis, out)
                before = out
                if self.parallel:
                    yield out
            if not self.parallel:
                yield before


def _squares(q: Tensor, dims: tuple[int, ...]) -> Tensor:
    if dims[-1] == q.ndim - 1:  # contiguous runs: the vectorised norm needs no temporary
        return torch.linalg.vector_norm(q, dim=dims, keepdim=True).square()
    return q.square().sum(dims, keepdim=True)


def _scale(norm: OutNorm, square: Tensor, count: int) -> Tensor:
    return (square / norm.degrees(count) + norm.eps).rsqrt()
