"""Windows of frames that move along with a model's own predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from surform.rollout.stepping import advance

__all__ = ["advance", "march"]


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
