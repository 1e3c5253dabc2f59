"""Mixtures of perceptrons with GELUs by native kernels: `surform/native/mixture.h`.

Shapes: x (n, c), gates (n, m) or None for a single expert, up (m, c, h), down (m, h, o).
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.native import fields, library, pointer, pointers, serves, thread_sums
from surform.layers.pages import large_empty

__all__ = ["NativeMixture", "mixes_natively"]


class Mixture(ctypes.Structure):
    """`struct Mixture` of mixture.h."""

    _fields_ = [
        *fields(ctypes.c_long, "points", "channels", "hidden", "out", "experts"),
        *fields(ctypes.c_void_p, "up", "up_turned", "up_bias"),
        *fields(ctypes.c_void_p, "down", "down_turned", "down_bias"),
        *fields(ctypes.c_long, "positions"),
        *fields(ctypes.c_void_p, "first", "first_bias"),
        ("threads", ctypes.c_int),
    ]


def mixes_natively(activation: str, x: Tensor, up: Tensor) -> bool:
    """True where `NativeMixture` does it: GELUs, channels and hidden values in whole vectors."""
    return activation == "gelu" and serves(x, [2 * width for width in up.shape[1:]])


class NativeMixture:
    """sum_i g_i (down_i gelu(up_i x)) of every row of x, and its gradients.

    Args:
        first: weight (s, c) and bias (c): x are then positions (n, s), gelu(first x) what enters.
        weights: up (m, c, h), its bias (m, h), down (m, h, o), its bias (m, o).
    """

    def __init__(
        self,
        x: Tensor,
        gates: Tensor | None,
        first: tuple[Tensor, Tensor] | None,
        weights: list[Tensor],
    ) -> None:
        self.x, self.gates, self.out = x, gates, weights[2].shape[2]
        found = library()
        assert found is not None
        self.native = found
        room = -self.out % (found.surform_panel() // 2)  # to a whole vector
        up, up_bias, down, down_bias = weights
        if room:
            down, down_bias = F.pad(down, (0, room)), F.pad(down_bias, (0, room))
        self.first = [] if first is None else [w.contiguous() for w in first]
        self.weights = [w.contiguous() for w in (up, up_bias, down, down_bias)]

    def forward(self, raw: Tensor | None) -> Tensor:
        """(n, o); raw (m, n, h), if given, takes what the GELU is applied to."""
        y = self.x.new_empty(len(self.x), self.weights[2].shape[2])
        size = self._sizes(None, None)
        self.native.surform_mix(ctypes.byref(size), *pointers(self.x, self.gates, raw, y))
        return y[:, : self.out]

    def backward(
        self, raw: Tensor | None, outer: Tensor
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Gradients of x, the gates, and [first's two and] the weights; raw as `forward` filled it,
        or None."""
        wide = self.weights[2].shape[2]
        outer = F.pad(outer, (0, wide - self.out)).contiguous()
        turned = [self.weights[i].transpose(1, 2).contiguous() for i in (0, 2)]
        dx = large_empty(self.x.shape, self.x)
        dgates = None if self.gates is None else torch.empty_like(self.gates)
        own = [*self.first, *self.weights]
        counts = [w.numel() for w in own]
        sums, size = thread_sums(sum(counts), self.x), self._sizes(*turned)
        self.native.surform_mix_backward(
            ctypes.byref(size), *pointers(self.x, self.gates, raw, outer, dx, dgates, sums)
        )
        parts = sums.sum(0).split(counts)
        found = [part.view(w.shape) for part, w in zip(parts, own, strict=True)]
        found[-2:] = [part[..., : self.out] for part in found[-2:]]
        return dx, dgates, found

    def _sizes(self, up_turned: Tensor | None, down_turned: Tensor | None) -> Mixture:
        """The turned weights (m, h, c) and (m, o, h) are for gradients only."""
        up, up_bias, down, down_bias = self.weights
        weights = (up, up_turned, up_bias, down, down_turned, down_bias)
        n, (experts, channels, hidden) = len(self.x), up.shape
        sizes = (n, channels, hidden, down.shape[2], experts)
        first = (self.x.shape[1], *map(pointer, self.first)) if self.first else (0, None, None)
        return Mixture(*sizes, *map(pointer, weights), *first, torch.get_num_threads())
