"""Gradients of values -> kernel integral -> norm -> projection, recomputed head by head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surform.attention.slabs import contract, correlate
from surform.layers.scratch import scratch
from surform.operators.out_norm import OutNorm

__all__ = ["HeadwiseGradient"]


class HeadwiseGradient:
    """One sample: u (*grid, c), values (h, d, c), outs (h, d, o), the norm's shifts and scales.

    With q the centred integral, s the scale and r = q s the normalised one,
    dq = s dr - s mean(dr) - q s^2 sum(dr r) / degrees, where dr = dy out^T; both sums follow from
    small matrices that are needed anyway, so that dq is one product on top of a multiple of q.
    """

    def __init__(
        self, norm: OutNorm, u: Tensor, values: Tensor, outs: Tensor, shift: Tensor, scale: Tensor
    ) -> None:
        self.norm, self.values, self.outs = norm, values, outs
        self.grid, self.rows = u.shape[:-1], u.reshape(-1, u.shape[-1])
        self.shift, self.scale = shift, scale
        heads = outs.shape[0] if norm.over_heads else 1
        self.count = self.rows.shape[0] * outs.shape[1] * heads // scale[0].numel()

    def add_to(
        self,
        grads: Sequence[Tensor],
        kernels: list[Tensor],
        y: Tensor,
        dy: Tensor,
        parallel: bool,
        kept: Tensor | None,
    ) -> None:
        """Add the gradients to grads = [u, values, outs, *kernels].

        y: the result, read where one norm spans all heads; kept: (h, 1 + axes, *grid, d), values
        and contracted values of the forward pass, or None to recompute them.
        """
        du, dvalues, self.douts, *self.dkernels = grads
        self._prepare(y, dy)
        du = du.view(self.rows.shape)
        count = 3 if kept is not None else len(kernels) + 4
        spare = scratch(count, (*self.grid, self.values.shape[1]), self.rows)
        for h, value in enumerate(self.values):
            own = [kernel[h] for kernel in kernels]
            if kept is None:
                states = spare[3:]
                torch.mm(self.rows, value.t(), out=self._flat(states[0]))
                for axis, kernel in enumerate(own):
                    contract(kernel, states[0 if parallel else axis], axis, states[axis + 1])
            else:
                states = list(kept[h])
            back = self._parallel if parallel else self._chain
            dv = back(h, own, states, spare[:3])
            dvalues[h].addmm_(self._flat(dv).t(), self.rows)
            du.addmm_(self._flat(dv), value)

    def _prepare(self, y: Tensor, dy: Tensor) -> None:
        """dy as rows, times the scale where that belongs to points; the sums of dr and dr r."""
        if self.norm.over_heads:
            dims = self.norm.grid_dims(len(self.grid))
            summed = dy.sum(dims[:-1], keepdim=True)
            self.total = (summed * self.outs.sum((0, 1))).sum(-1, keepdim=True)
            self.product = (dy * y).sum(dims, keepdim=True)
            dy = dy * self.scale[0]
        self.dy = dy.reshape(self.rows.shape[0], -1)
        self.dy_sum = self.dy.sum(0)

    def _chain(
        self, h: int, kernels: list[Tensor], states: list[Tensor], spare: list[Tensor]
    ) -> Tensor:
        g, other, _ = spare
        self._norm_gradient(h, states[-1], g)
        for axis in range(len(kernels) - 1, -1, -1):
            self.dkernels[axis][h] += correlate(g, states[axis], axis)
            contract(kernels[axis].t(), g, axis, other)
            g, other = other, g
        return g

    def _parallel(
        self, h: int, kernels: list[Tensor], states: list[Tensor], spare: list[Tensor]
    ) -> Tensor:
        dv, g, part = spare
        dv.zero_()
        for axis, kernel in enumerate(kernels):
            self._norm_gradient(h * len(kernels) + axis, states[axis + 1], g)
            self.dkernels[axis][h] += correlate(g, states[0], axis)
            contract(kernel.t(), g, axis, part)
            dv += part
        return dv

    def _norm_gradient(self, h: int, q: Tensor, g: Tensor) -> None:
        """g <- gradient of the integral q of (virtual) head h."""
        index = 0 if self.norm.over_heads else h
        scale, out = self.scale[index], self.outs[h]
        torch.sub(q, self.shift[h if self.norm.over_heads else index], out=g)
        dout = self._flat(g).t() @ self.dy
        if self.norm.over_heads:
            total, product = self.total, self.product
        else:
            dout = dout * scale.view(-1, 1)
            total, product = out @ self.dy_sum, (out * dout).sum(1)
            if not self.norm.keep_features:
                total, product = total.sum(), product.sum()
            total, product = total.view(scale.shape), product.view(scale.shape)
            out = out * scale.view(-1, 1)
        self.douts[h] += dout
        g.mul_(-product * scale.square() / self.norm.degrees(self.count))
        g.sub_(total * scale / self.count)
        self._flat(g).addmm_(self.dy, out.t())

    def _flat(self, x: Tensor) -> Tensor:
        return x.view(self.rows.shape[0], -1)
