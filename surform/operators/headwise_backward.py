"""Gradients of values -> kernel integral -> norm -> projection of a few samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surform.operators.axis_products import correlate
from surform.operators.kernel_integral import KernelIntegral, piece
from surform.operators.out_norm import OutNorm

__all__ = ["HeadwiseGradient"]


class HeadwiseGradient:
    """partial, results: of the forward pass; outs (heads, d, o); the norm's mean and scale.

    With q the integral and r = (q - mean) s the normalised one, for dr = dy out^T,
    dq = s dr - s mean(dr) - (q - mean) s^2 sum(dr r) / degrees. Both sums follow from small
    matrices that are needed anyway, so that dq is one product on top of slope * q + offset.
    """

    def __init__(
        self,
        norm: OutNorm,
        integral: KernelIntegral,
        outs: Tensor,
        mean: Tensor,
        scale: Tensor,
        partial: Tensor,
        results: Tensor,
    ) -> None:
        self.norm, self.integral, self.outs = norm, integral, outs
        self.mean, self.scale, self.partial, self.results = mean, scale, partial, results
        self.count = results.numel() // scale.numel()

    def add_to(self, grads: Sequence[Tensor], y: Tensor, dy: Tensor) -> None:
        """Add the gradients to grads = [u, values, outs, *kernels], that of u written over.

        y, dy: (b, *grid, o); y is read where one norm spans all heads.
        """
        du, dvalues, douts, dfirst, *dothers = grads
        y, dy = (t.reshape(*self.results.shape[:2], -1, t.shape[-1]) for t in (y, dy))
        self.dy = dy * self.scale[:, :, 0] if self.norm.over_heads else dy  # (b, x, rest, o)
        first, g = self.integral.gradient_memory()
        self._results(self._terms(y, dy, douts), g)
        self._first_axis(g, first, dfirst)
        dothers = [k.flatten(0, 1) for k in dothers]
        self._other_axes(g, first, dothers, du.view(self.integral.u.shape), dvalues.flatten(0, 1))

    def _terms(self, y: Tensor, dy: Tensor, douts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(outs with the scale, slope, offset): all broadcast like (b, x, heads, d, _)."""
        norm, outs, mean, scale = self.norm, self.outs, self.mean, self.scale
        raw = outs.new_zeros(len(dy), outs.shape[0] * outs.shape[1], outs.shape[2])
        for b, total in enumerate(raw):
            for block in self.integral.blocks:
                total.addbmm_(self.results[b, block].flatten(1, 2), self.dy[b, block])
        raw = raw.view(len(dy), 1, *outs.shape)
        steps = self.dy.sum(2)[:, :, None, None]  # (b, x, 1, 1, o)
        if norm.over_heads:
            dout = raw - (mean * steps).sum(1, keepdim=True)
            total = (outs.sum((0, 1)) * steps).sum(-1, keepdim=True)
            product = (dy * y).sum((2, 3))[:, :, None, None, None]
            weight = outs.expand_as(dout)
        else:
            steps = steps.sum(1, keepdim=True)
            dout = (raw - mean * steps) * scale
            total = (outs * steps).sum(-1, keepdim=True) * scale
            product = (outs * dout).sum(-1, keepdim=True)
            if not norm.keep_features:
                total, product = total.sum(3, keepdim=True), product.sum(3, keepdim=True)
            weight = outs * scale
        douts += dout.sum((0, 1))
        slope = -product * scale.square() / norm.degrees(self.count)
        return weight, slope, -slope * mean - total / self.count

    def _results(self, terms: tuple[Tensor, Tensor, Tensor], g: Tensor) -> None:
        """g <- gradients of the results."""
        weight, slope, offset = terms
        weight = weight.flatten(2, 3)  # (b, 1, heads d, o)
        for b, target in enumerate(g):
            for block in self.integral.blocks:
                x = block if self.norm.keep_first else slice(None)
                part, dy = target[block], self.dy[b, block]
                torch.mul(self.results[b, block], slope[b, x], out=part)
                part += offset[b, x]
                many = weight[b].expand(len(part), -1, -1)
                part.flatten(1, 2).baddbmm_(many, dy.transpose(1, 2))

    def _first_axis(self, g: Tensor, out: Tensor, dkernel: Tensor) -> None:
        """Through the contraction of the first axis, g -> out (b, x, h, d, rest)."""
        integral = self.integral
        transposed = integral.first.transpose(2, 3)
        own = g[:, :, :: integral.axes]
        for b in range(len(g)):
            for at in integral.pieces:
                part, x, target = (piece(t[b], *at) for t in (own, self.partial, out))
                dkernel[b, at[0]].baddbmm_(part, x.transpose(1, 2))
                torch.bmm(transposed[b, at[0]], part, out=target)

    def _other_axes(
        self, g: Tensor, first: Tensor, dkernels: list[Tensor], du: Tensor, dweight: Tensor
    ) -> None:
        """Through the other axes and the values, block by block; values are made again."""
        integral = self.integral
        through = self._parallel if integral.parallel else self._chain
        for block in integral.blocks:
            dv = through(block, g, first, dkernels).flatten(1, 2)  # (b, h d, points)
            dweight.addbmm_(dv, integral.u[:, block].flatten(1, 2))
            torch.bmm(dv.transpose(1, 2), integral.weight, out=du[:, block].flatten(1, 2))

    def _chain(self, block: slice, _: Tensor, first: Tensor, dkernels: list[Tensor]) -> Tensor:
        integral, last = self.integral, len(self.integral.grid) - 1
        own, spare, *states = integral.block_scratch(block, 2 + last)
        if states:
            integral.make_values(block, states[0])
        for axis, x, after in zip(range(last, 1, -1), states[:-1], states[1:], strict=True):
            integral.contract(axis, x, after)
        integral.load(first[:, block], own)
        for axis, x in zip(range(1, last + 1), reversed(states), strict=True):
            correlate(integral.along(own, axis), integral.along(x, axis), dkernels[axis - 1])
            integral.contract(axis, own, spare, transpose=True)
            own, spare = spare, own
        return own

    def _parallel(self, block: slice, g: Tensor, first: Tensor, dkernels: list[Tensor]) -> Tensor:
        integral = self.integral
        own, part, spare, x = integral.block_scratch(block, 4)
        integral.load(first[:, block], own)
        integral.make_values(block, x)
        for axis, dkernel in enumerate(dkernels, start=1):
            integral.load(g[:, block, axis :: integral.axes], part)
            correlate(integral.along(part, axis), integral.along(x, axis), dkernel)
            integral.contract(axis, part, spare, transpose=True)
            own += spare
        return own
