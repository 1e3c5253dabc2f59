"""Mean and scale of a norm over the kernel integral's output, collected piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.operators.out_norm import OutNorm

__all__ = ["NormMoments", "combine_moments"]


class NormMoments:
    """Of results (b, x, heads, d, rest), first over rest and `width` features (a divisor of d).

    `finish` combines these exactly.
    """

    def __init__(self, norm: OutNorm, width: int, results: Tensor) -> None:
        self.norm = norm
        self.width = 1 if norm.keep_features else width
        self.each = self.width * results.shape[-1]
        self.start = results.new_empty(*results.shape[:3], results.shape[3] // self.width)
        self.sum = torch.empty_like(self.start)  # of differences to the start
        self.root = torch.empty_like(self.start)  # of the sum of their squares

    def add(self, *place: int | slice, features: slice, q: Tensor) -> None:
        """q: results[*place, features], while it is in the cache."""
        q = q.unflatten(-2, (-1, self.width)).flatten(-2)
        where = (*place, slice(features.start // self.width, features.stop // self.width))
        self.start[where] = q[..., 0]
        q = q - q[..., :1]  # else a large mean would cancel the digits of a small variance
        torch.sum(q, -1, out=self.sum[where])
        torch.linalg.vector_norm(q, dim=-1, out=self.root[where])

    def finish(self) -> tuple[Tensor, Tensor]:
        """Mean and scale (b, x or 1, heads or 1, d or 1, 1), about the common mean."""
        return combine_moments(
            self.norm, self.each, self.start, self.sum, self.root.double().square()
        )


def combine_moments(
    norm: OutNorm, each: int, start: Tensor, sum_: Tensor, square: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and scale (b, x or 1, heads or 1, parts or 1, 1) of numbers in equal groups.

    Per group, (b, x, heads, parts): a number near its mean, the sum of the differences to it and
    the sum of their squares, each over `each` numbers.
    """
    beyond = sum_.double() / each
    mean = start.double() + beyond
    kept = (norm.keep_first, not norm.over_heads, norm.keep_features)
    dims = tuple(dim for dim, keep in enumerate(kept, start=1) if not keep)
    common = mean.mean(dims, keepdim=True)
    square = (square.double() - each * beyond.square()).clamp_(min=0)
    square = (square + each * (mean - common).square()).sum(dims, keepdim=True)
    count = each * mean.numel() // common.numel()
    scale = (square / norm.degrees(count) + norm.eps).rsqrt()
    return common.to(start.dtype)[..., None], scale.to(start.dtype)[..., None]
