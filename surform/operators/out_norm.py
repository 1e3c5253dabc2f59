"""Normalisation of the kernel integral's output: three published semantics under one interface."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from torch import Tensor

__all__ = ["OUT_NORMS", "OutNorm", "out_norm"]


@dataclass(frozen=True)
class OutNorm:
    """Over what of (head, *grid, features) mean and variance are taken; never over samples.

    over_heads: one statistic for all heads; keep_first: one per index of the first axis;
    keep_features: one per feature; unbiased: divide the squares by count - 1.
    """

    name: str
    over_heads: bool
    keep_first: bool
    keep_features: bool
    unbiased: bool
    eps: float

    def grid_dims(self, rank: int) -> tuple[int, ...]:
        """Dims of one head's (*grid, features) over which is averaged."""
        first, last = int(self.keep_first), rank + int(not self.keep_features)
        return tuple(range(first, last))

    def apply(self, p: Tensor) -> Tensor:
        """Normalise p (b, h, *grid, f); statistics in float32 at least."""
        dims = tuple(d + 2 for d in self.grid_dims(p.ndim - 3))
        dims = (1, *dims) if self.over_heads else dims
        wide = p.float() if p.itemsize < 4 else p
        centred = wide - wide.mean(dims, keepdim=True)
        count = wide.numel() // max(1, wide.mean(dims, keepdim=True).numel())
        variance = centred.square().sum(dims, keepdim=True) / self.degrees(count)
        return (centred * (variance + self.eps).rsqrt()).to(p.dtype)

    def degrees(self, count: int) -> int:
        """What the sum of squares is divided by."""
        return max(1, count - 1) if self.unbiased else count


OUT_NORMS: dict[str, OutNorm] = {
    # per sample and head, over all points and the head's features
    "group": OutNorm("group", False, False, False, unbiased=True, eps=1e-8),
    # per sample and index of the FIRST axis, over the other axes and all features: what an instance
    # norm does that expects channels first and is fed channels last
    "row_instance": OutNorm("row_instance", True, True, False, unbiased=False, eps=1e-5),
    # per sample and feature, over all points
    "channel_instance": OutNorm("channel_instance", False, False, True, unbiased=False, eps=1e-5),
}


def out_norm(name: str) -> OutNorm:
    """The semantics called `name`; ValueError lists the valid names."""
    if name in OUT_NORMS:
        return OUT_NORMS[name]
    near = difflib.get_close_matches(name, OUT_NORMS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(OUT_NORMS)}"
    raise ValueError(f"unknown out_norm {name!r}: {hint}")
