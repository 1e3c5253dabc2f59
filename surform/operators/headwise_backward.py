"""Gradients of values -> kernel integral -> norm -> projection, in blocks and head by head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surform.attention.slabs import contract, correlate
from surform.layers.scratch import group_size, scratch
from surform.operators.headwise_forward import integrals, row_blocks
from surform.operators.out_norm import OutNorm

__all__ = ["HeadwiseGradient"]


class HeadwiseGradient:
    """One sample: u (*grid, c), values (h, d, c), outs (h, d, o), the norm's means and scales.

    With q the integral and r = (q - mean) s the normalised one, for dr = dy out^T,
    dq = s dr - s mean(dr) - (q - mean) s^2 sum(dr r) / degrees. Both sums follow from small
    matrices that are needed anyway, so that dq is one product on top of slope * q + offset.
    """

    def __init__(
        self,
        norm: OutNorm,
        parallel: bool,
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        mean: Tensor,
        scale: Tensor,
    ) -> None:
        self.norm, self.parallel, self.values, self.outs = norm, parallel, values, outs
        self.grid, self.rows = u.shape[:-1], u.reshape(-1, u.shape[-1])
        self.mean, self.scale = mean, scale
        heads = outs.shape[0] if norm.over_heads else 1
        self.count = len(self.rows) * outs.shape[1] * heads // scale[0].numel()
        self.blocks = row_blocks(self.rows)

    def add_to(
        self,
        grads: Sequence[Tensor],
        kernels: list[Tensor],
        y: Tensor,
        dy: Tensor,
        kept: Tensor | None,
    ) -> None:
        """Add the gradients to grads = [u, values, outs, *kernels].

        y: the result, read where one norm spans all heads; kept: (h, 1 + axes, *grid, d), values
        and contracted values of the forward pass, or None to recompute them.
        """
        du, self.dvalues, self.douts, *self.dkernels = grads
        self.du, self.kernels = du.view(self.rows.shape), kernels
        self._prepare(y, dy)
        shape = (*self.grid, self.values.shape[1])
        results = len(kernels) if self.parallel else 1
        slots = results if kept is not None else results + len(kernels) + 1
        size = group_size(slots, shape, self.rows)
        for start in range(0, len(self.values), size):
            heads = range(start, min(start + size, len(self.values)))
            memory = scratch(len(heads) * slots + 1, shape, self.rows)
            g = [memory[i * results : (i + 1) * results] for i in range(len(heads))]
            if kept is not None:
                states = [list(kept[h]) for h in heads]
            else:
                rest, each = memory[len(heads) * results : -1], len(kernels) + 1
                states = [rest[i * each : (i + 1) * each] for i in range(len(heads))]
                for _ in integrals(self.rows, self.values, kernels, heads, states, self.parallel):
                    pass
            self._group(heads, states, g, memory[-1])

    def _prepare(self, y: Tensor, dy: Tensor) -> None:
        """dy as rows, times the scale where that belongs to points; the sums of dr and dr r."""
        if self.norm.over_heads:
            dims = self.norm.grid_dims(len(self.grid))
            self.total = (dy * self.outs.sum((0, 1))).sum(dims, keepdim=True)
            self.product = (dy * y).sum(dims, keepdim=True)
            dy = dy * self.scale[0]
        self.dy = dy.reshape(len(self.rows), -1)
        self.dy_sum = self.dy.sum(0)

    def _group(
        self, heads: range, states: list[list[Tensor]], g: list[list[Tensor]], spare: Tensor
    ) -> None:
        """Gradients through some heads; g: memory for those of their integrals."""
        results = len(g[0])
        first = heads.start * results
        q = [s for memory in states for s in memory[-results:]]
        self._norm_gradients(first, q, [t for one in g for t in one])
        dv = [
            (self._parallel if self.parallel else self._chain)(h, memory, own, spare)
            for h, memory, own in zip(heads, states, g, strict=True)
        ]
        for block in self.blocks:
            rows, du = self.rows[block], self.du[block]
            for h, one in zip(heads, dv, strict=True):
                part = self._flat(one)[block]
                self.dvalues[h].addmm_(part.t(), rows)
                du.addmm_(part, self.values[h])

    def _chain(self, h: int, states: list[Tensor], own: list[Tensor], spare: Tensor) -> Tensor:
        g = own[0]
        for axis in range(len(self.kernels) - 1, -1, -1):
            self.dkernels[axis][h] += correlate(g, states[axis], axis)
            contract(self.kernels[axis][h].t(), g, axis, spare)
            g, spare = spare, g
        return g if g is own[0] else own[0].copy_(g)

    def _parallel(self, h: int, states: list[Tensor], own: list[Tensor], spare: Tensor) -> Tensor:
        for axis, g in enumerate(own):
            self.dkernels[axis][h] += correlate(g, states[0], axis)
            contract(self.kernels[axis][h].t(), g, axis, spare)
            if axis == 0:
                g.copy_(spare)
            else:
                own[0] += spare
        return own[0]

    def _norm_gradients(self, first: int, q: list[Tensor], g: list[Tensor]) -> None:
        """g <- gradients of the integrals q of heads first, first + 1, ..."""
        indices = range(first, first + len(q))
        raw = [torch.zeros_like(self.outs[i]) for i in indices]
        for block in self.blocks:
            for one, total in zip(q, raw, strict=True):
                total.addmm_(self._flat(one)[block].t(), self.dy[block])
        terms = [self._terms(i, one) for i, one in zip(indices, raw, strict=True)]
        for block in self.blocks:
            for one, target, (out, slope, offset) in zip(q, g, terms, strict=True):
                part = self._flat(target)[block]
                slope, offset = (t if len(t) == 1 else t[block] for t in (slope, offset))
                torch.mul(self._flat(one)[block], slope, out=part)
                part.add_(offset).addmm_(self.dy[block], out)

    def _terms(self, index: int, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(out^T with the scale, slope, offset) of one head from raw = q^T dy."""
        own = 0 if self.norm.over_heads else index
        mean, scale, out = self.mean[own], self.scale[own], self.outs[index]
        if self.norm.over_heads:
            # the mean differs from row to row of the first axis, and dy carries the scale
            steps = self.dy.view(self.grid[0], -1, self.dy.shape[1]).sum(1)
            dout = raw - (mean.reshape(-1, 1) * steps).sum(0)
            total, product = self.total, self.product
        else:
            dout = (raw - mean.reshape(-1, 1) * self.dy_sum) * scale.reshape(-1, 1)
            total, product = out @ self.dy_sum, (out * dout).sum(1)
            if not self.norm.keep_features:
                total, product = total.sum(), product.sum()
            total, product = total.view(scale.shape), product.view(scale.shape)
            out = out * scale.reshape(-1, 1)
        self.douts[index] += dout
        slope = -product * scale.square() / self.norm.degrees(self.count)
        offset = -slope * mean - total * scale / self.count
        return out.t(), self._per_row(slope), self._per_row(offset)

    def _per_row(self, x: Tensor) -> Tensor:
        """(*grid or 1s, features or 1) -> (rows or 1, features or 1)."""
        if not self.norm.keep_first:
            return x.reshape(1, -1)
        return x.expand(*self.grid, 1).reshape(-1, 1)

    def _flat(self, x: Tensor) -> Tensor:
        return x.view(len(self.rows), -1)
