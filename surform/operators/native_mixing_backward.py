"""Gradients of `native_mixing`, one sample at a time: `surform/native/mixing_backward.h`."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surform.layers.native import fields, pointer, pointers, thread_sums
from surform.layers.pages import large_empty
from surform.operators.native_mixing import Kept, Mixer
from surform.operators.out_norm import OutNorm

__all__ = ["MixerGradient"]


class _ProjectionGradient(ctypes.Structure):
    _fields_ = [*fields(ctypes.c_void_p, "second", "scale"), ("second_out", ctypes.c_long)]


class _OthersGradient(ctypes.Structure):
    _fields_ = [
        *fields(ctypes.c_void_p, "u", "weight", "values", "kernels", "dpartial", "apart"),
        *fields(ctypes.c_void_p, "du", "sums"),
        ("size", ctypes.c_long),
    ]


@dataclass
class _Sums:
    """Of one sample, over its points: (p, o), (h parts d, o), (x, o) and (x)."""

    second: Tensor
    raw: Tensor  # results^T dmixed
    steps: Tensor  # dmixed over rest
    dots: Tensor  # gradient of mixed times mixed, where the norm spans all heads


class MixerGradient:
    """Gradients in the order of the forward pass's arguments, summed over samples where shared.

    With q the integral and r = (q - mean) s the normalised one, for dr = dmixed to_out,
    dq = s dr - s mean(dr) - (q - mean) s^2 sum(dr r) / degrees. Both sums follow from small
    matrices that are needed anyway, so that dq is one product on top of slope * q + offset.
    """

    def __init__(self, mixer: Mixer, norm: OutNorm, kept: Kept) -> None:
        self.mixer, self.norm, self.kept = mixer, norm, kept
        self.sizes = mixer.one_sample()
        self.outs = mixer.outs().contiguous()  # (h parts, d, o)
        self.du = large_empty(mixer.u.shape, mixer.u)
        weights = (mixer.to_value, mixer.to_out, mixer.second)
        self.dvalue, self.dout, self.dsecond = (torch.zeros_like(w) for w in weights)
        self.dkernels = [torch.empty_like(k) for k in mixer.kernels]
        like = mixer.u
        self.dmixed = large_empty(kept.mixed.shape[1:], like)
        self.g = mixer.partial(1)
        shape = (mixer.grid[0], mixer.heads, mixer.rest, mixer.width)
        self.dpartial = large_empty(shape, like)
        # of what each axis but the first makes alone
        self.apart = large_empty((*shape[:2], mixer.parts - 1, *shape[2:]), like)
        streamed = (self.g, self.dpartial, self.apart)
        self.sizes.stream = int(all(x.data_ptr() % 64 == 0 for x in streamed))

    def run(self, outer: Tensor) -> list[Tensor]:
        """[u, to_value, to_out, second, *kernels]; outer: gradient of the result (b, *grid, p)."""
        outer = outer.contiguous()
        for b in range(len(outer)):
            values, partial, results = self._integral(b)
            sums = self._projection(b, results, outer[b])
            self._results(results, *self._terms(b, sums))
            self._first_axis(b, partial)
            self._other_axes(b, values)
        return [self.du, self.dvalue, self.dout, self.dsecond, *self.dkernels]

    def _integral(self, b: int) -> list[Tensor]:
        """Values, partial and results of one sample."""
        kept = [self.kept.values, self.kept.partial, self.kept.results]
        if kept[0] is not None:
            return [x[b] for x in kept if x is not None]
        *made, _ = self.mixer.sample(b).integrate(keep=True)
        return [x[0] for x in made if x is not None]

    def _projection(self, b: int, results: Tensor, outer: Tensor) -> _Sums:
        mixer, norm = self.mixer, self.norm
        (p, o), f = mixer.second.shape, mixer.to_out.shape[1]
        second = mixer.second.contiguous()
        scale = self.kept.scale[b].flatten().contiguous() if norm.over_heads else None
        gradient = _ProjectionGradient(pointer(second), pointer(scale), p)
        steps, dots = outer.new_zeros(mixer.grid[0], o), outer.new_zeros(mixer.grid[0])
        sums = thread_sums(p * o + f * o, outer)
        arguments = (results, self.kept.mixed[b], outer, self.dmixed, steps, dots, sums)
        mixer.native.surform_project_backward(
            ctypes.byref(self.sizes), ctypes.byref(gradient), *pointers(*arguments)
        )
        dsecond, raw = sums.sum(0).split([p * o, f * o])
        self.dsecond += dsecond.view(p, o)
        return _Sums(dsecond, raw.view(*self.outs.shape), steps, dots)

    def _terms(self, b: int, sums: _Sums) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (o, h parts d), slope and offset (x or 1, h parts d)."""
        norm, outs, mean, scale = self.norm, self.outs, self.kept.mean[b], self.kept.scale[b]
        if norm.over_heads:  # dmixed came with the scale, which belongs to points
            steps = sums.steps[:, None, None]  # (x, 1, 1, o)
            self.dout += (sums.raw - (mean * steps).sum(0)).flatten(0, 1).t()
            sum_, product = steps @ outs.sum((0, 1)), sums.dots.view(-1, 1, 1)
            sum_, product = sum_[..., None], product[..., None]
            weight = outs
        else:
            dout = (sums.raw - mean[0] * sums.steps.sum(0)) * scale[0]
            self.dout += dout.flatten(0, 1).t()
            sum_ = ((outs @ sums.steps.sum(0))[..., None] * scale[0])[None]
            product = (outs * dout).sum(-1, keepdim=True)[None]
            if not norm.keep_features:
                sum_, product = sum_.sum(2, keepdim=True), product.sum(2, keepdim=True)
            weight = outs * scale[0]
        points = self.mixer.rest * self.mixer.grid[0]
        count = points * self.mixer.to_out.shape[1] // scale.numel()
        slope = -product * scale.square() / norm.degrees(count)
        offset = -slope * mean - sum_ / count
        shape = (len(slope), *outs.shape[:2])
        return (
            weight.flatten(0, 1).t().contiguous(),
            slope[..., 0].expand(shape).contiguous(),
            offset[..., 0].expand(shape).contiguous(),
        )

    def _results(self, results: Tensor, weight: Tensor, slope: Tensor, offset: Tensor) -> None:
        apart = slope[0].numel() if len(slope) > 1 else 0
        self.mixer.native.surform_results_backward(
            ctypes.byref(self.sizes),
            *pointers(self.dmixed, weight, slope, offset),
            ctypes.c_long(apart),
            *pointers(results, self.g, self.apart),
        )

    def _first_axis(self, b: int, partial: Tensor) -> None:
        mixer, n = self.mixer, self.mixer.grid[0]
        sums = self.dmixed.new_zeros(mixer.heads, n, self._padded(n))
        arguments = (mixer.kernels[0][b], partial, self.g, self.dpartial, sums)
        mixer.native.surform_first_axis_backward(ctypes.byref(self.sizes), *pointers(*arguments))
        self.dkernels[0][b] = sums[..., :n]

    def _other_axes(self, b: int, values: Tensor) -> None:
        mixer = self.mixer
        shapes = [tuple(mixer.to_value.shape)]
        shapes += [(mixer.heads, n, self._padded(n)) for n in mixer.grid[1:]]
        counts = [math.prod(shape) for shape in shapes]
        sums = thread_sums(sum(counts), self.dmixed)
        kernels = [k[b] for k in mixer.kernels[1:]]
        table = (ctypes.c_void_p * len(mixer.grid))(*map(pointer, kernels))
        weight = mixer.to_value.contiguous()
        gradient = _OthersGradient(
            *map(pointer, (mixer.u[b], weight, values)),
            ctypes.addressof(table),
            *map(pointer, (self.dpartial, self.apart, self.du[b], sums)),
            sum(counts),
        )
        mixer.native.surform_others_backward(ctypes.byref(self.sizes), ctypes.byref(gradient))
        first, *rest = (
            x.view(shape) for x, shape in zip(sums.sum(0).split(counts), shapes, strict=True)
        )
        self.dvalue += first
        for target, found in zip(self.dkernels[1:], rest, strict=True):
            target[b] = found[..., : target.shape[-1]]

    def _padded(self, n: int) -> int:
        return -(-n // self.mixer.panel) * self.mixer.panel
