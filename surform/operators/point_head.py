"""Read a field off channels: GroupNorm over the grid, then a small MLP at every point."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PointHead"]


class PointHead(nn.Module):
    """GroupNorm(norm_groups) -> grouped linear (no bias) -> GELU [-> linear -> GELU] -> linear.

    The norm is folded into the grouped map that follows it: only its means and variances are made.

    Args:
        channels: of the input; dim: after the grouped map.
        hidden: width of the second map (no bias); None leaves it out.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        out_channels: int,
        *,
        norm_groups: int = 8,
        linear_groups: int = 1,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels)
        self.linear_groups = linear_groups
        self.grouped = nn.Parameter(torch.empty(dim, channels // linear_groups))
        nn.init.kaiming_uniform_(self.grouped, a=math.sqrt(5))  # as the 1x1 convolution that it is
        self.hidden = None if hidden is None else nn.Linear(dim, hidden, bias=False)
        self.out = nn.Linear(dim if hidden is None else hidden, out_channels)

    def forward(self, x: Float[Tensor, "b *grid c"]) -> Float[Tensor, "b *grid o"]:
        return self.compute(x, *self.tensors())

    def tensors(self) -> list[Tensor]:
        """The parameters in the order in which `compute` takes them."""
        hidden = [] if self.hidden is None else [self.hidden.weight]
        return [self.norm.weight, self.norm.bias, self.grouped, *hidden, *self.out.parameters()]

    def compute(
        self, x: Tensor, scale: Tensor, shift: Tensor, grouped: Tensor, *later: Tensor
    ) -> Tensor:
        """The head as a function of its parameters: any device, differentiable to any order."""
        rows = x.flatten(1, -2)  # (b, n, c)
        wide = rows.float() if rows.itemsize < 4 else rows
        parts = wide.unflatten(-1, (self.norm.num_groups, -1))
        mean = parts.mean((1, 3))  # (b, groups)
        variance = (parts - mean[:, None, :, None]).square().mean((1, 3))
        weight, bias = self.fold(mean, variance, scale, shift, grouped)
        split = rows.unflatten(-1, (self.linear_groups, -1)).transpose(1, 2)  # (b, g, n, c / g)
        mixed = split @ weight.to(rows.dtype) + bias[:, :, None].to(rows.dtype)
        return self.read(mixed.transpose(1, 2).flatten(2), *later).unflatten(1, x.shape[1:-1])

    def fold(
        self, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor, grouped: Tensor
    ) -> tuple[Float[Tensor, "... g i o"], Float[Tensor, "... g o"]]:
        """Norm and grouped map as one map of the raw channels; mean and variance (..., groups)."""
        wide = scale.shape[0] // self.norm.num_groups
        factor = scale * (variance + self.norm.eps).rsqrt().repeat_interleave(wide, -1)
        offset = shift - factor * mean.repeat_interleave(wide, -1)
        maps = grouped.unflatten(0, (self.linear_groups, -1)).transpose(1, 2)  # (g, i, o)
        maps = maps.to(factor.dtype)  # as wide as the statistics
        factor, offset = (t.unflatten(-1, (self.linear_groups, -1)) for t in (factor, offset))
        return factor[..., None] * maps, (offset[..., None, :] @ maps).squeeze(-2)

    @staticmethod
    def read(mixed: Tensor, *later: Tensor) -> Tensor:
        """What follows the grouped map, (..., dim) -> (..., out_channels)."""
        *hidden, weight, bias = later
        for linear in hidden:
            mixed = F.linear(F.gelu(mixed), linear)
        return F.linear(F.gelu(mixed), weight, bias)

    @classmethod
    def read_rows(cls, rows: Tensor, weight: Tensor, bias: Tensor, *later: Tensor) -> Tensor:
        """The head on raw rows (n, c) of one sample with the maps that `fold` gave."""
        split = rows.unflatten(-1, (weight.shape[0], -1)).transpose(0, 1)  # (g, n, i)
        mixed = torch.baddbmm(bias[:, None], split, weight)
        return cls.read(mixed.transpose(0, 1).flatten(1), *later)
