"""Gradients of `native_marching`: `surform/native/marching_backward.h`."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import torch
from torch import Tensor

from surform.layers.native import pointers, thread_sums
from surform.layers.pages import large_empty
from surform.operators.native_marching import NativeMarch

__all__ = ["NativeMarchGradient"]


class NativeMarchGradient:
    """Gradients of [state, *parameters]; the rest as `NativeMarch.run` kept it."""

    def __init__(self, march: NativeMarch, states: Tensor, raw: Tensor, moments: Tensor) -> None:
        self.march, self.states, self.raw, self.moments = march, states, raw, moments
        self.sums = [torch.zeros_like(p) for p in march.parameters]
        self.dstate = large_empty(march.rows.shape, march.state)
        self.dmixed = large_empty((march.steps, march.rows.shape[1], march.dim), march.state)

    def run(self, outer: Tensor) -> list[Tensor]:
        """outer: the gradient of the frames, (b, steps, *grid, o)."""
        outer = outer.contiguous().view(*self.states.shape[:3], -1)
        for b in range(len(outer)):
            self._sample(b, outer[b])
        return [self.dstate.view(self.march.state.shape), *self.sums]

    def _sample(self, b: int, outer: Tensor) -> None:
        march = self.march
        with torch.enable_grad():
            sources = (*self.moments[b], *march.parameters[7:10])
            leaves = [t.detach().requires_grad_() for t in sources]
            folded = march.head.fold(*leaves)
        weight, bias = (t.detach().contiguous() for t in folded)
        turned = weight.transpose(2, 3).contiguous()
        size = march.head_sizes(weight, turned, bias)
        totals = self._head(size, self.states[b], outer, weight, bias)
        dmean, dvariance, *rest = torch.autograd.grad(folded, leaves, totals)
        for total, part in zip(self.sums[7:10], rest, strict=True):
            total += part
        n, c = march.rows.shape[1:]
        wide = c // dmean.shape[1]
        slope = 2 * dvariance / (n * wide)
        offset = dmean / (n * wide) - slope * self.moments[b, 0]
        slope, offset = (t.repeat_interleave(wide, 1).contiguous() for t in (slope, offset))
        sums = thread_sums(sum(p.numel() for p in march.parameters[:7]), outer)
        tensors = (march.rows[b], self.states[b], self.raw[b], self.dmixed)
        march.native.surform_march_backward(
            ctypes.byref(march.sizes()),
            ctypes.byref(size),
            *pointers(*tensors, slope, offset, self.dstate[b], sums),
        )
        self._add(sums.sum(0), self.sums[:7])

    def _head(
        self, size: ctypes.Structure, states: Tensor, outer: Tensor, weight: Tensor, bias: Tensor
    ) -> list[Tensor]:
        """Gradients of the folded maps."""
        march, (second, last, last_bias) = self.march, self.sums[10:]
        room = -len(last_bias) % (march.native.surform_panel() // 2)  # to a whole vector
        counts = [second.numel(), last.numel(), len(last_bias), room]
        maps = weight[0].numel() + march.dim
        sums = thread_sums(sum(counts) + march.steps * maps, outer)
        march.native.surform_head_backward(
            ctypes.byref(size), *pointers(states, outer, self.dmixed, sums)
        )
        total = sums.sum(0)
        self._add(total, [second, last, last_bias])
        dmaps = total[sum(counts) :].view(march.steps, maps)
        dweight, dbias = dmaps.split([weight[0].numel(), march.dim], dim=1)
        return [dweight.reshape(weight.shape), dbias.reshape(bias.shape)]

    @staticmethod
    def _add(flat: Tensor, targets: list[Tensor]) -> None:
        ends = [0]
        for target in targets:
            ends.append(ends[-1] + target.numel())
        for target, (start, stop) in zip(targets, pairwise(ends), strict=True):
            target += flat[start:stop].view(target.shape)
