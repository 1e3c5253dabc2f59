"""Factorised attention between linear maps by native kernels: `surform/native/mixing.h`.

values -> kernel integral -> norm -> projection -> GELU -> second projection (+ residual), forward.
Sums over many points are made by the kernels; what remains small is torch's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surform.layers.native import fields, library, pointer, pointers, serves
from surform.layers.pages import large_empty
from surform.operators.norm_moments import combine_moments
from surform.operators.out_norm import OutNorm

__all__ = ["Mixer", "Mixing", "mixes_natively"]

_MOST_AXES = 8  # of a grid, but the first


class Mixing(ctypes.Structure):
    """`struct Mixing` of mixing.h."""

    _fields_ = [
        *fields(
            ctypes.c_long, "batch", "first", "rest", "channels", "heads", "width", "out", "rank"
        ),
        ("axes", ctypes.c_long * _MOST_AXES),
        *fields(ctypes.c_long, "parts", "apart", "slab"),
        *fields(ctypes.c_int, "threads", "stream"),
    ]


class _Projection(ctypes.Structure):
    _fields_ = [
        *fields(ctypes.c_void_p, "weight", "shift", "scale"),
        *fields(ctypes.c_long, "weight_b", "shift_b", "shift_x"),
        *fields(ctypes.c_void_p, "second", "residual"),
        ("second_out", ctypes.c_long),
    ]


def mixes_natively(u: Tensor, to_value: Tensor, to_out: Tensor, second: Tensor, heads: int) -> bool:
    """True where `Mixer` does it: the shapes are its."""
    if not 2 <= u.ndim - 2 <= _MOST_AXES:
        return False
    widths = (u.shape[-1], len(to_value) // heads, *to_out.shape[:1], *second.shape)
    return serves(u, widths)


@dataclass
class Kept:
    """What the backward pass reads; the first three are None where it makes them again."""

    values: Tensor | None  # (b, x, h, rest, d)
    partial: Tensor | None  # (b, h, panels, apart): contracted with all axes but the first
    results: Tensor | None  # (b, x, slab): (rest, h parts, d) and a gap
    mixed: Tensor  # (b, x, rest, o): before the GELU
    mean: Tensor  # of the norm, (b, x or 1, h parts or 1, d or 1, 1)
    scale: Tensor


class Mixer:
    """u (b, *grid, c), to_value (h d, c), to_out (o, h parts d), second (p, o).

    kernels: per axis (b, h, n, n). parts: 1 where the kernels form a chain, one per axis where they
    work in parallel; then partial is the values in another layout.
    """

    def __init__(
        self, u: Tensor, to_value: Tensor, to_out: Tensor, second: Tensor, kernels: Sequence[Tensor]
    ) -> None:
        self.u, self.kernels = u.contiguous(), [k.contiguous() for k in kernels]
        self.to_value, self.to_out, self.second = to_value, to_out, second
        batch, *grid, channels = u.shape
        self.heads, self.grid = kernels[0].shape[1], grid
        self.parts = to_out.shape[1] // len(to_value)
        self.width, self.rest = len(to_value) // self.heads, u[0, 0].numel() // channels
        found = library()
        assert found is not None
        self.native, self.panel = found, found.surform_panel()
        # Odd numbers of panels: a power of two apart, rows would share few sets of the cache.
        self.apart = (grid[0] | 1) * self.panel
        self.slab = self.rest * to_out.shape[1] + self.panel
        axes = (ctypes.c_long * _MOST_AXES)(*grid[1:])
        sizes = (batch, grid[0], self.rest, channels, self.heads, self.width, len(to_out))
        strides, threads = (self.apart, self.slab), torch.get_num_threads()
        self.sizes = Mixing(*sizes, len(grid) - 1, axes, self.parts, *strides, threads, 0)

    def one_sample(self) -> Mixing:
        """The sizes of one sample."""
        sizes = Mixing.from_buffer_copy(self.sizes)
        sizes.batch = 1
        return sizes

    def partial(self, batch: int) -> Tensor:
        """Uninitialised memory in the layout of the values contracted with all but one axis."""
        panels = self.rest * self.width // self.panel
        return large_empty((batch, self.heads, panels, self.apart), self.u)

    def outs(self) -> Tensor:
        """Weight of the projection by heads and parts, (h parts, d, o)."""
        return self.to_out.t().unflatten(0, (self.heads * self.parts, -1))

    def values_memory(self) -> Tensor:
        """Uninitialised memory for the values."""
        shape = (len(self.u), self.grid[0], self.heads, self.rest, self.width)
        return large_empty(shape, self.u)

    def sample(self, b: int) -> Mixer:
        """The same of one sample."""
        kernels = [k[b : b + 1] for k in self.kernels]
        return Mixer(self.u[b : b + 1], self.to_value, self.to_out, self.second, kernels)

    def integrate(self, keep: bool) -> tuple[Tensor | None, Tensor, Tensor, list[Tensor]]:
        """Values (if kept), partial, results, and per (b, x, h parts, d) three sums for moments."""
        values, partial = self.values_memory() if keep else None, self.partial(len(self.u))
        results = large_empty((len(self.u), self.grid[0], self.slab), self.u)
        shape = (len(self.u), self.grid[0], self.heads * self.parts, self.width)
        sums = [self.u.new_empty(shape) for _ in range(3)]
        weight = self.to_value.t().contiguous()
        streamed = (partial, results, *([] if values is None else [values]))
        self.sizes.stream = int(all(x.data_ptr() % 64 == 0 for x in streamed))
        size = ctypes.byref(self.sizes)
        others = (ctypes.c_void_p * len(self.grid))(*map(pointer, self.kernels[1:]))
        self.native.surform_values_and_others(
            size, *pointers(self.u, weight), others, *pointers(values, partial, results, *sums)
        )
        self.native.surform_first_axis(size, *pointers(self.kernels[0], partial, results, *sums))
        return values, partial, results, sums

    def run(
        self,
        norm: OutNorm,
        residual: Tensor | None,
        y: Tensor,
        mixed: Tensor | None = None,
        keep: bool = False,
    ) -> tuple[tuple[Tensor | None, ...], Tensor, Tensor]:
        """Fill y (b, *grid, p) and, where it is given, mixed.

        Returns:
            Values, partial and results (None unless `keep`), mean and scale.
        """
        values, partial, results, sums = self.integrate(keep)
        mean, scale = combine_moments(norm, self.rest, *sums)
        self._project(norm, mean, scale, results, residual, mixed, y)
        return (values, partial, results) if keep else (None, None, None), mean, scale

    def _project(
        self,
        norm: OutNorm,
        mean: Tensor,
        scale: Tensor,
        results: Tensor,
        residual: Tensor | None,
        mixed: Tensor | None,
        y: Tensor,
    ) -> None:
        outs = self.outs()
        if norm.over_heads:  # mean and scale belong to points, not to columns of the weight
            weight = outs.contiguous()
            shift = (-mean.flatten(1, -1)[..., None] * outs.sum((0, 1))).contiguous()  # (b, x, o)
            factors = scale.contiguous()
        else:
            weight = (scale * outs).contiguous()  # (b, 1, h, d, o)
            shift = (mean * weight).sum((2, 3)).neg()  # (b, 1, o)
            factors = None
        second, o = self.second.t().contiguous(), len(self.to_out)
        residual = None if residual is None else residual.contiguous()
        projection = _Projection(
            *map(pointer, (weight, shift, factors)),
            0 if norm.over_heads else weight[0].numel(),
            shift[0].numel(),
            o if shift.shape[1] > 1 else 0,
            *map(pointer, (second, residual)),
            len(self.second),
        )
        self.native.surform_project(
            ctypes.byref(self.sizes), ctypes.byref(projection), *pointers(results, mixed, y)
        )
