"""What models on tensor-product grids ask of their inputs, said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["check_coordinates", "check_field", "check_steps"]


def check_field(u: Tensor, rank: int, channels: int, input_steps: int | None = None) -> None:
    """ValueError unless u is (b, [input_steps,] *grid, channels) with `rank` axes."""
    window = [] if input_steps is None else [str(input_steps)]
    axes = [f"n{i + 1}" for i in range(rank)]
    expected = f"({', '.join(['b', *window, *axes, str(channels)])})"
    if u.ndim != rank + 2 + len(window):
        raise ValueError(f"u has shape {tuple(u.shape)}, expected {expected}")
    if u.shape[-1] != channels:
        raise ValueError(
            f"u has {u.shape[-1]} channels in shape {tuple(u.shape)}, expected {expected}"
        )
    if input_steps is not None and u.shape[1] != input_steps:
        raise ValueError(
            f"u has {u.shape[1]} frames in shape {tuple(u.shape)}, expected {expected}"
        )


def check_coordinates(
    coordinates: Sequence[Tensor],
    grid: Sequence[int],
    like: Tensor,
    extra: int = 0,
    periodic: bool | Sequence[bool] = False,
) -> list[Tensor]:
    """One (n,) tensor per axis on the device and in the dtype (float32 at least) of `like`.

    An axis of n points may also come with n + `extra` entries, for cells appended to its end.

    Raises ValueError for other shapes.
    """
    if len(coordinates) != len(grid):
        raise ValueError(f"{len(coordinates)} coordinates for a grid of {len(grid)} axes")
    circles = [periodic] * len(grid) if isinstance(periodic, bool) else periodic
    for axis, (x, n, circle) in enumerate(zip(coordinates, grid, circles, strict=True)):
        if x.ndim != 1 or x.shape[0] not in (n, n + extra):
            raise ValueError(
                f"coordinates[{axis}] has shape {tuple(x.shape)}, expected ({n},)"
                + (f" or ({n + extra},)" if extra else "")
            )
        if circle and n < 2:
            raise ValueError(f"axis {axis} has 1 point, a periodic axis needs at least 2")
    # 16 bits would not tell neighbouring points apart
    dtype = torch.promote_types(like.dtype, torch.float32)
    return [x.to(like.device, dtype) for x in coordinates]


def check_steps(steps: int | None, most: int) -> int:
    """`most` when steps is None; ValueError unless 1 <= steps <= most."""
    if steps is None:
        return most
    if not 1 <= steps <= most:
        raise ValueError(
            f"steps is {steps}, but this model predicts 1 to {most} (max_steps) frames"
        )
    return steps
