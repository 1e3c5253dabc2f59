"""Run a vorticity equation and keep frames of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from surform.data.solvers.checks import check_finite, whole_steps
from surform.data.solvers.samples import Samples
from surform.data.solvers.vorticity import VorticityEquation

__all__ = ["record"]


def record(
    samples: Samples,
    start: Tensor,
    equation: Callable[[float], VorticityEquation],
    dt: float,
    frames: int,
    dt_frame: float,
    spin_up: float,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Integrate from `start` and return the frames and their times.

    Args:
        samples: their dtype, device and progress report are used.
        start: `rfft2` coefficients of the initial vorticity, (B, n, n/2 + 1).
        equation: makes the equation for a time step.
        dt: longest time step; it is shortened so that steps end on frames.
        frames: number of frames; the first is the state at the end of the spin-up.
        dt_frame: time between frames.
        spin_up: time before the first frame.
        stride: keep every so many-th grid point.

    Returns:
        Frames on the CPU, (B, frames, n/stride, n/stride), and times (frames,).
    """
    per_frame, step = whole_steps(dt_frame, dt)
    flow = equation(step)
    w = start.to(samples.dtype.to_complex()) * flow.mask
    kept = len(range(0, flow.points, stride))
    out = torch.empty(len(samples), frames, kept, kept, dtype=samples.dtype)
    if spin_up > 0:
        steps, shorter = whole_steps(spin_up, dt)
        warm_up = equation(shorter)
        weight = steps / (steps + per_frame * (frames - 1))
        for i in range(steps):
            w = warm_up.step(w)
            samples.progress(weight * (i + 1) / steps)
        check_finite(w, 0.0, dt)
    else:
        weight = 0.0
    for frame in range(frames):
        if frame:
            for _ in range(per_frame):
                w = flow.step(w)
        field = flow.field(w)[:, ::stride, ::stride]
        check_finite(field, frame * dt_frame, dt)
        out[:, frame] = field.cpu()
        samples.progress(weight + (1 - weight) * frame / max(1, frames - 1))
    return out, torch.arange(frames, dtype=torch.float64) * dt_frame
