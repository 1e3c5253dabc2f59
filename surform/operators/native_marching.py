"""Latent marching by native kernels, one sample at a time: `surform/native/marching.h`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from surform.layers.native import fields, library, pointer, pointers, serves
from surform.layers.pages import large_empty
from surform.operators.group_moments import group_moments
from surform.operators.point_head import PointHead

__all__ = ["March", "NativeMarch", "marches_natively"]


class March(ctypes.Structure):
    """`struct March` of marching.h."""

    _fields_ = [
        *fields(ctypes.c_long, "points", "channels", "hidden", "steps"),
        *fields(ctypes.c_void_p, "embeddings", "scale", "shift"),
        *fields(ctypes.c_void_p, "up", "up_turned", "up_bias"),
        *fields(ctypes.c_void_p, "down", "down_turned", "down_bias"),
        ("threads", ctypes.c_int),
    ]


class Head(ctypes.Structure):
    """`struct Head` of marching.h."""

    _fields_ = [
        *fields(ctypes.c_long, "points", "channels", "groups", "dim", "hidden", "out", "steps"),
        *fields(ctypes.c_void_p, "weight", "weight_turned", "bias"),
        *fields(ctypes.c_void_p, "second", "second_turned", "last", "last_bias"),
        ("threads", ctypes.c_int),
    ]


def marches_natively(state: Tensor, up: Tensor, head: PointHead) -> bool:
    """True where `NativeMarch` does it: one hidden map in the head, widths of whole vectors."""
    if head.hidden is None:
        return False
    dim, inner = head.grouped.shape
    # the grouped map's parts may be half a panel wide
    widths = (2 * inner, 2 * dim // head.linear_groups, *head.hidden.weight.shape)
    return serves(state, (*up.shape, *widths))


class NativeMarch:
    """state (b, *grid, c); parameters as `LatentMarching.forward` orders them."""

    def __init__(self, head: PointHead, state: Tensor, parameters: Sequence[Tensor]) -> None:
        self.head, self.state = head, state.contiguous()
        self.parameters = [p.contiguous() for p in parameters]
        embeddings, _, _, up, _, down, _, _, _, grouped, second, last, _ = self.parameters
        self.rows = self.state.view(len(state), -1, state.shape[-1])  # (b, n, c)
        self.steps, self.out = len(embeddings), len(last)
        self.groups, self.dim = head.linear_groups, len(grouped)
        self.turned = [w.t().contiguous() for w in (up, down, second)]
        self.threads = torch.get_num_threads()
        found = library()
        assert found is not None
        self.native = found

    def sizes(self) -> March:
        """What the kernels need to know of the steps."""
        embeddings, scale, shift, up, up_bias, down, down_bias = self.parameters[:7]
        n, c = self.rows.shape[1:]
        weights = (embeddings, scale, shift, up, self.turned[0], up_bias, down, self.turned[1])
        pointed = map(pointer, (*weights, down_bias))
        return March(n, c, len(up), self.steps, *pointed, self.threads)

    def head_sizes(self, weight: Tensor, turned: Tensor | None, bias: Tensor) -> Head:
        """The same of the head, whose maps (steps, g, i, o) are folded with its norm."""
        second, last, last_bias = self.parameters[10:]
        n, c = self.rows.shape[1:]
        sizes = (n, c, self.groups, self.dim, len(second), self.out, self.steps)
        weights = (weight, turned, bias, second, self.turned[2], last, last_bias)
        return Head(*sizes, *map(pointer, weights), self.threads)

    def run(self, keep: bool) -> tuple[Tensor, list[Tensor]]:
        """Frames (b, steps, *grid, o); with `keep` [states (b, steps, n, c), raw (b, steps, n, h),
        which is up's result, and the moments of the head's groups (b, 2, steps, g)]."""
        b, n, c = self.rows.shape
        states = large_empty((b if keep else 1, self.steps, n, c), self.state)
        shape = (b, self.steps, n, len(self.parameters[3]))
        raw = large_empty(shape, self.state) if keep else None
        frames = self.state.new_empty(b, self.steps, n, self.out)
        moments = []
        for i in range(b):
            own = states[i if keep else 0]
            kept = None if raw is None else raw[i]
            moments.append(torch.stack(self._march(self.rows[i], own, kept)))
            weight, bias = self.head.fold(*moments[-1], *self.parameters[7:10])
            weight, bias = weight.contiguous(), bias.contiguous()
            size = self.head_sizes(weight, None, bias)
            self.native.surform_read_head(ctypes.byref(size), *pointers(own, frames[i]))
        grid = self.state.shape[1:-1]
        kept = [] if raw is None else [states, raw, torch.stack(moments)]
        return frames.unflatten(2, grid), kept

    def _march(self, start: Tensor, states: Tensor, raw: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fill states (steps, n, c) and raw (steps, n, h); mean and variance (steps, groups)."""
        n, c = start.shape
        tile = self.native.surform_tile()
        counts = [min(tile, n - i) for i in range(0, n, tile)]
        means, squares = (start.new_empty(self.steps, len(counts), c) for _ in range(2))
        self.native.surform_march(
            ctypes.byref(self.sizes()), *pointers(start, states, raw, means, squares)
        )
        return group_moments(counts, means, squares, self.head.norm.num_groups)
