"""What the Galerkin Transformer sees of a grid: positions in the unit interval or square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["check_positions", "grid_positions", "unit_positions"]


def unit_positions(
    coordinates: Sequence[Tensor], shape: Sequence[int], like: Tensor
) -> Float[Tensor, "1 *grid axes"]:
    """Coordinates of a grid of `shape` over the same domain, scaled to [0, 1], last axis first.

    Both ends are included, also on periodic axes, as published. A coarser or finer grid spans
    from end to end (aligned corners), which is what the scalers do.
    """
    axes = []
    precise = torch.promote_types(like.dtype, torch.float32)  # 16 bits do not tell nodes apart
    for axis, size in zip(coordinates, shape, strict=True):
        axis = axis.to(like.device, precise)
        unit = (axis - axis[0]) / (axis[-1] - axis[0]) if len(axis) > 1 else torch.zeros_like(axis)
        if size != len(axis):
            unit = F.interpolate(unit[None, None], size, mode="linear", align_corners=True)[0, 0]
        axes.append(unit)
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)[None].to(like.dtype)


def grid_positions(
    coordinates: Sequence[Tensor] | None, name: str, u: Tensor, shape: Sequence[int]
) -> Tensor:
    """`unit_positions` for every field of u; ValueError when they do not fit its grid."""
    if coordinates is None:
        raise ValueError(f"the model needs coordinates, one tensor per axis, or {name}")
    lengths = tuple(len(axis) for axis in coordinates)
    if lengths != tuple(u.shape[1:-1]):
        raise ValueError(f"coordinates have lengths {lengths}, but the grid is {u.shape[1:-1]}")
    for i, axis in enumerate(coordinates):
        if not torch.compiler.is_compiling() and len(axis) > 1 and bool(axis[0] == axis[-1]):
            raise ValueError(
                f"coordinates[{i}] begins and ends at {axis[0].item():g}, but must span an interval"
            )
    return unit_positions(coordinates, shape, u).expand(len(u), *[-1] * (len(shape) + 1))


def check_positions(name: str, value: Tensor | None, shape: Sequence[int], channels: int) -> None:
    """ValueError unless value, where the model wants it, is (batch or 1, *shape, channels)."""
    if value is None or not channels:
        return
    if value.ndim != len(shape) + 1 or tuple(value.shape[1:]) != (*shape[1:], channels):
        raise ValueError(
            f"{name} have shape {tuple(value.shape)}, but must be {(*shape, channels)}"
        )
    if value.shape[0] not in (1, shape[0]):
        raise ValueError(f"{name} are for {value.shape[0]} samples, but u has {shape[0]}")
