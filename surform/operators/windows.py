"""Windows of frames that move along with a model's own predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["advance", "march"]


def advance(window: Tensor, frames: Tensor) -> Tensor:
    """Drop the oldest frames, append new ones: `(B, T_in, *grid, C)`, `(B, T, *grid, C_out)`.

    Channels beyond the predicted ones are parameters: the newest frame's values are carried on.
    """
    carried = window[:, -1:, ..., frames.shape[-1] :]
    carried = carried.expand(-1, frames.shape[1], *carried.shape[2:])
    frames = torch.cat([frames.to(window.dtype), carried], dim=-1)
    return torch.cat([window, frames], dim=1)[:, -window.shape[1] :]


def march(
    call: Callable[[Tensor, int], Tensor], window: Tensor, steps: int, per_call: int
) -> Tensor:
    """Predict `steps` frames in calls of at most `per_call`, feeding predictions back in.

    Args:
        call: `(window, n) -> (B, n, *grid, C_out)`, physical units in and out.
    """
    parts: list[Tensor] = []
    while steps > 0:
        frames = call(window, min(per_call, steps))
        steps -= frames.shape[1]
        parts.append(frames)
        if steps > 0:
            window = advance(window, frames)
    return torch.cat(parts, dim=1)
