"""Learned positions for spectrograms of another size, and kernels of colours for one channel.

The rules of the official AST (YuanGongND/ast@31088be8a3f6), for image models and its own weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["adapt_positions", "resize_axis", "sum_colors"]


def adapt_positions(
    positions: Float[Tensor, "one n c"], source: tuple[int, int], target: tuple[int, int]
) -> Float[Tensor, "one m c"]:
    """Positions of one grid (rows of frequency, columns of time) for another.

    The axis of time goes first: its middle is cut out where the new one is not longer, else it is
    interpolated bilinearly; then the axis of frequency. What precedes the grid (tokens) stays.

    Raises:
        ValueError: fewer entries than `source` has places.
    """
    extra = positions.shape[1] - source[0] * source[1]
    if extra < 0:
        raise ValueError(
            f"positions have {positions.shape[1]} entries, fewer than the {source[0]} x "
            f"{source[1]} places of their grid"
        )
    first, grid = positions[:, :extra], positions[:, extra:]
    grid = grid.unflatten(1, source).permute(0, 3, 1, 2)  # (1, c, rows, columns)
    grid = resize_axis(resize_axis(grid, 3, target[1]), 2, target[0])
    return torch.cat((first, grid.flatten(2).transpose(1, 2)), 1)


def resize_axis(grid: Float[Tensor, "a c h w"], axis: int, size: int) -> Float[Tensor, "a c x y"]:
    """One axis of a grid cut to its middle, or interpolated where it is to be longer."""
    length = grid.shape[axis]
    if size <= length:
        return grid.narrow(axis, length // 2 - size // 2, size)
    shape = [size if place == axis else grid.shape[place] for place in (2, 3)]
    return F.interpolate(grid, size=shape, mode="bilinear", align_corners=False)


def sum_colors(kernel: Float[Tensor, "d colors h w"]) -> Float[Tensor, "d one h w"]:
    """The kernel that answers a grey picture as the given one answers three equal colours."""
    return kernel.sum(1, keepdim=True)
