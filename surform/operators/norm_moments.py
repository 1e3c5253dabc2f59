"""Mean and scale of a norm over the kernel integral's output, collected piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.operators.out_norm import OutNorm

__all__ = ["NormMoments"]


class NormMoments:
    """Of results (slabs, axes, d, x, rest), a slab being one head of one sample.

    For each feature over all points (keep_first: over the points of each index of the first axis);
    `finish` combines these exactly.
    """

    def __init__(self, norm: OutNorm, shape: tuple[int, int, int, int, int], like: Tensor) -> None:
        slabs, axes, width, first, rest = shape
        self.norm = norm
        self.count = rest if norm.keep_first else first * rest
        self.mean = like.new_empty(slabs, axes, width, first if norm.keep_first else 1)
        self.root = torch.empty_like(self.mean)  # of the sum of squares

    def add(self, slabs: slice, axis: int, features: slice, q: Tensor) -> None:
        """q: results[slabs, axis, features], while it is in the cache."""
        q = q if self.norm.keep_first else q.flatten(2)[:, :, None]
        mean = q.mean(-1)
        if self.norm.keep_features:
            q = q - mean[..., None]
        self.mean[slabs, axis, features] = mean
        self.root[slabs, axis, features] = torch.linalg.vector_norm(q, dim=-1)

    def finish(self, samples: int) -> tuple[Tensor, Tensor]:
        """Mean and scale (b, h axes or 1, d or 1, x or 1)."""
        norm = self.norm
        mean, root = (t.unflatten(0, (samples, -1)).flatten(1, 2).double() for t in self._both())
        square = root.square()
        if norm.keep_features:  # taken about the mean
            return self._rounded(mean, square, self.count)
        dims = (1, 2) if norm.over_heads else (2,)
        square = (square - self.count * mean.square()).clamp_(min=0)
        common = mean.mean(dims, keepdim=True)
        square = (square + self.count * (mean - common).square()).sum(dims, keepdim=True)
        return self._rounded(common, square, self.count * mean.numel() // common.numel())

    def _both(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.root

    def _rounded(self, mean: Tensor, square: Tensor, count: int) -> tuple[Tensor, Tensor]:
        scale = (square / self.norm.degrees(count) + self.norm.eps).rsqrt()
        return mean.to(self.mean.dtype), scale.to(self.mean.dtype)
