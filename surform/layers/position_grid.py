"""Learned positions of one grid of patches, resized for another."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["resize_positions"]


def resize_positions(
    positions: Float[Tensor, "one n c"],
    source: tuple[int, int],
    target: tuple[int, int],
    *,
    mode: Literal["bicubic", "bilinear"] = "bicubic",
) -> Float[Tensor, "one m c"]:
    """Interpolate row-major positions between grids of (rows, columns); corners are not aligned.

    Args:
        positions: (1, extra + rows * columns, C); leading extra entries (a class token's) stay.

    Raises:
        ValueError: fewer entries than `source` has places.
    """
    extra = positions.shape[1] - source[0] * source[1]
    if extra < 0:
        raise ValueError(
            f"positions have {positions.shape[1]} entries, fewer than the {source[0]} x "
            f"{source[1]} places of their grid"
        )
    if source == target:
        return positions
    first, grid = positions[:, :extra], positions[:, extra:]
    grid = grid.unflatten(1, source).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=target, mode=mode, align_corners=False)
    return torch.cat((first, grid.flatten(2).transpose(1, 2)), 1)
