"""Mean and scale of a norm over the kernel integral's output, collected piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.operators.out_norm import OutNorm

__all__ = ["NormMoments"]


class NormMoments:
    """Of results (b, x, heads, d, rest): first over rest alone, `finish` combines these exactly."""

    def __init__(self, norm: OutNorm, results: Tensor) -> None:
        self.norm, self.rest = norm, results.shape[-1]
        self.mean = results.new_empty(results.shape[:-1])
        self.root = torch.empty_like(self.mean)  # of the sum of squares

    def add(self, place: tuple[int | slice, ...], q: Tensor) -> None:
        """q: results[place], while it is in the cache."""
        torch.sum(q, -1, out=self.mean[place])
        torch.linalg.vector_norm(q, dim=-1, out=self.root[place])

    def finish(self) -> tuple[Tensor, Tensor]:
        """Mean and scale (b, x or 1, heads or 1, d or 1, 1), about the common mean."""
        norm, mean = self.norm, self.mean.double() / self.rest
        kept = (norm.keep_first, not norm.over_heads, norm.keep_features)
        dims = tuple(dim for dim, keep in enumerate(kept, start=1) if not keep)
        common = mean.mean(dims, keepdim=True)
        square = (self.root.double().square() - self.rest * mean.square()).clamp_(min=0)
        square = (square + self.rest * (mean - common).square()).sum(dims, keepdim=True)
        count = self.rest * mean.numel() // common.numel()
        scale = (square / norm.degrees(count) + norm.eps).rsqrt()
        return tuple(t.to(self.mean.dtype)[..., None] for t in (common, scale))
