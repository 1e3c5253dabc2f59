"""Gradients of values -> kernel integral -> norm -> projection of a few samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surform.layers.scratch import scratch
from surform.operators.axis_products import contract, correlate
from surform.operators.kernel_integral import KernelIntegral
from surform.operators.out_norm import OutNorm

__all__ = ["HeadwiseGradient"]


class HeadwiseGradient:
    """partial, results: of the forward pass; outs (h axes, d, o); the norm's mean and scale.

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
        """Add to grads = [values, outs, *kernels] and write grads' first, that of u.

        y, dy: (b, *grid, o); y is read where one norm spans all heads.
        """
        du, dvalues, douts, *dkernels = grads
        b = self.integral.samples
        self.dy = dy.reshape(b, self.integral.points, -1)
        if self.norm.over_heads:  # the scale belongs to points
            self.dy = (dy.flatten(2) * self.scale.view(b, -1, 1)).view_as(self.dy)
        kernels = [k.flatten(0, 1) for k in dkernels]
        g, first = self._memory()
        self._norm_gradients(self._terms(y, dy, douts), g)
        self._first_axis(g[:, :, 0], first, kernels[0])
        self._other_axes(g, first, kernels, du.view(b, len(self.dy[0]), -1), dvalues.flatten(0, 1))

    def _memory(self) -> tuple[Tensor, Tensor]:
        """For the gradients of the results, and of what the first axis's kernel acted on."""
        if not self.integral.parallel:
            g, first = self.integral.empty_pair()
            return g[:, :, None], first
        return self.integral.empty(self.integral.axes), self.integral.empty(1)[:, :, 0]

    def _terms(self, y: Tensor, dy: Tensor, douts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(outs with the scale, slope, offset), each (b, h axes or 1, d or 1, o or x or 1)."""
        norm, outs, mean, scale = self.norm, self.outs, self.mean, self.scale
        b, n = len(self.dy), self.integral.grid[0]
        inner = self.results.flatten(1, 3)
        raw = inner.new_zeros(b, inner.shape[1], outs.shape[-1])
        for points in self.integral.blocks:
            raw.baddbmm_(inner[..., points], self.dy[:, points])
        raw = raw.unflatten(1, outs.shape[:2])
        steps = self.dy.unflatten(1, (n, -1)).sum(2)  # (b, x, o)
        if norm.over_heads:
            dout = raw - (mean.view(b, n, 1) * steps).sum(1)[:, None, None]
            total = (steps @ outs.sum((0, 1)))[:, None, None]
            product = (dy * y).flatten(2).sum(2)[:, None, None]
            weight = outs.expand(b, -1, -1, -1)
        else:
            step = steps.sum(1)[:, None, None]
            dout = (raw - mean * step) * scale
            total = (outs * step).sum(-1, keepdim=True)
            product = (outs * dout).sum(-1, keepdim=True)
            if not norm.keep_features:
                total, product = total.sum(2, keepdim=True), product.sum(2, keepdim=True)
            total, weight = total * scale, outs * scale
        douts += dout.sum(0)
        slope = -product * scale.square() / norm.degrees(self.count)
        return weight, slope, -slope * mean - total / self.count

    def _norm_gradients(self, terms: tuple[Tensor, Tensor, Tensor], g: Tensor) -> None:
        """g <- gradients of the results."""
        weight, slope, offset = terms
        weight, slope, offset = weight.flatten(1, 2), slope[..., None], offset[..., None]
        for points in self.integral.blocks:
            first = self.integral.first_indices(points) if self.norm.keep_first else slice(None)
            part = g[..., points].flatten(1, 2)  # (b, h axes, d, points)
            q = self.results[..., points].flatten(1, 2)
            grid = part.unflatten(-1, (-1, self.integral.rest))
            torch.mul(q.view(grid.shape), slope[..., first, :], out=grid)
            grid += offset[..., first, :]
            part.flatten(1, 2).baddbmm_(weight, self.dy[:, points].transpose(1, 2))

    def _first_axis(self, g: Tensor, out: Tensor, dkernel: Tensor) -> None:
        """Through the contraction of the first axis, g -> out (b, h, d, points)."""
        integral = self.integral
        source, target, x = (integral.along(t, 0) for t in (g, out, self.partial))
        transposed = integral.kernels[0].transpose(1, 2)
        for slabs, features in integral.pieces:
            piece = slabs, features
            correlate(source[piece], x[piece], dkernel[slabs])
            contract(transposed[slabs], source[piece], target[piece])

    def _other_axes(
        self, g: Tensor, first: Tensor, kernels: list[Tensor], du: Tensor, dweight: Tensor
    ) -> None:
        """Through the other axes and the values, in blocks of points; values are made again."""
        integral, axes = self.integral, range(1, len(self.integral.grid))
        through = self._parallel if integral.parallel else self._chain
        for points in integral.blocks:
            count = 3 if integral.parallel else max(3, len(axes) + 2)
            memory = scratch(du, *[integral.block_shape(points)] * count)
            dv = through(points, g, first, kernels, memory).flatten(1, 2)
            dweight.addbmm_(dv, integral.rows[:, points])
            torch.bmm(dv.transpose(1, 2), integral.weight, out=du[:, points])

    def _chain(
        self,
        points: slice,
        g: Tensor,
        first: Tensor,
        kernels: list[Tensor],
        memory: list[Tensor],
    ) -> Tensor:
        integral = self.integral
        own, spare, *states = memory
        own.copy_(first[..., points])
        if states and len(self.integral.grid) > 1:
            integral.make_values(points, states[0])
        last = len(integral.grid) - 1
        for i, axis in enumerate(range(last, 1, -1)):
            integral.contract_block(axis, states[i], states[i + 1])
        for axis in range(1, last + 1):
            x = states[last - axis]
            correlate(integral.along(own, axis), integral.along(x, axis), kernels[axis])
            integral.contract_block(axis, own, spare, transpose=True)
            own, spare = spare, own
        return own

    def _parallel(
        self,
        points: slice,
        g: Tensor,
        first: Tensor,
        kernels: list[Tensor],
        memory: list[Tensor],
    ) -> Tensor:
        integral = self.integral
        own, part, spare = memory
        own.copy_(first[..., points])
        for axis in range(1, len(integral.grid)):
            part.copy_(g[:, :, axis, :, points])
            integral.contract_block(axis, part, spare, transpose=True)
            own += spare
            spare.copy_(self.partial[..., points])
            correlate(integral.along(part, axis), integral.along(spare, axis), kernels[axis])
        return own
