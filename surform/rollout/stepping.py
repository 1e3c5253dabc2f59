"""The rollout itself: a model that sees its own predictions, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["Correct", "advance", "rollout"]

# What is done to a frame `(B, *grid, C_out)`, given the one before it: see `corrections`.
Correct = Callable[[Tensor, Tensor], Tensor]


def rollout(
    model: Callable[..., Tensor],
    inputs: Tensor,
    coordinates: tuple[Tensor, ...],
    steps: int,
    *,
    gradients: bool = False,
    correct: Correct | None = None,
) -> Iterator[Tensor]:
    """Yield `steps` predicted frames, `(B, *grid, C_out)` each, in the model's physical units.

    After every call the window drops its oldest frames and takes the predicted ones. Channels
    beyond the predicted `C_out` (parameters, static fields) are carried along unchanged. The
    memory needed does not depend on `steps`.

    Args:
        model: physical units in and out, `model(inputs, coordinates)`; a time-window model returns
            one or more frames, `(B, T, *grid, C_out)`, any other one frame, `(B, *grid, C_out)`.
        inputs: `(B, T_in, *grid, C)`, oldest frame first, or `(B, *grid, C)` for one-step models.
        coordinates: one `(n_i,)` tensor per axis.
        gradients: keep the graph of the steps, to differentiate through the rollout.
        correct: applied to every predicted frame before it is yielded and fed back.

    Raises:
        ValueError: shapes that are no fields on this grid, or more channels out than in.
    """
    axes = len(coordinates)
    if inputs.ndim not in (axes + 2, axes + 3):
        raise ValueError(
            f"inputs on {axes} axes have {axes + 2} dimensions, or {axes + 3} with time, "
            f"not {inputs.ndim}"
        )
    if steps < 1:
        raise ValueError(f"a rollout takes at least one step, not {steps}")
    windowed = inputs.ndim == axes + 3
    window = inputs if windowed else inputs.unsqueeze(1)
    while steps > 0:
        # Only around the call: a setting held across a yield would leak into the caller's code.
        with torch.set_grad_enabled(gradients):
            frames = model(window if windowed else window[:, -1], coordinates)
            frames = _with_time(frames, window)
            if correct is not None:
                frames = _corrected(frames, window, correct)
        yield from frames[:, :steps].unbind(1)
        steps -= frames.shape[1]
        window = advance(window, frames)


def _with_time(frames: Tensor, window: Tensor) -> Tensor:
    """Predicted frames as `(B, T, *grid, C_out)`, checked against the window they continue."""
    if frames.ndim == window.ndim - 1:
        frames = frames.unsqueeze(1)
    grid = window.shape[2:-1]
    if frames.ndim != window.ndim or frames.shape[2:-1] != grid:
        raise ValueError(
            f"the model turns a window {tuple(window.shape)} into {tuple(frames.shape)}: a model "
            "can be rolled out when its output lies on the grid of its input"
        )
    if frames.shape[-1] > window.shape[-1]:
        raise ValueError(
            f"the model predicts {frames.shape[-1]} channels from {window.shape[-1]}: a model "
            "can be rolled out when its inputs hold all its targets"
        )
    return frames


def _corrected(frames: Tensor, window: Tensor, correct: Correct) -> Tensor:
    """Frames `(B, T, *grid, C_out)`, each corrected with the one before it at hand."""
    done = [window[:, -1, ..., : frames.shape[-1]]]
    for frame in frames.unbind(1):
        done.append(correct(frame, done[-1]))
    return torch.stack(done[1:], dim=1)


def advance(window: Tensor, frames: Tensor) -> Tensor:
    """Drop the oldest frames, append new ones: `(B, T_in, *grid, C)`, `(B, T, *grid, C_out)`.

    Channels beyond the predicted ones are carried on: those of the newest frame.
    """
    carried = window[:, -1:, ..., frames.shape[-1] :]
    carried = carried.expand(-1, frames.shape[1], *carried.shape[2:])
    frames = torch.cat([frames.to(window.dtype), carried], dim=-1)
    return torch.cat([window, frames], dim=1)[:, -window.shape[1] :]
