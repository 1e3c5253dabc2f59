"""Lorenz-96: a ring of sites that exchange, damp and are forced; a chaotic multivariate series."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_finite, check_positive, whole_steps
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["advance", "lorenz96", "tendency"]

BATCH = 64
SERIES = True  # its results may also be written as tables


def lorenz96(
    samples: Samples,
    *,
    sites: int = 40,
    forcing: float = 8.0,
    frames: int = 10000,
    dt_frame: float = 0.05,
    dt: float = 0.01,
    spin_up: float = 20.0,
) -> Solution:
    """States of the Lorenz-96 model: dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F.

    Lorenz (1996), Predictability: a problem partly solved. With F = 8 the motion is chaotic, errors
    double in about 0.4 time units, and 0.05 units stand for six hours of weather. The initial
    states are F plus small normal noise. Classical Runge-Kutta of order four, in float64 whatever
    dtype is stored.

    Args:
        sites: variables on the ring.
        forcing: F.
        frames: stored states per sample; the first one is the state after the spin-up.
        dt_frame: time between frames.
        dt: longest time step.
        spin_up: time before the first frame.
    """
    check_at_least(4, sites=sites)
    check_at_least(1, frames=frames)
    check_at_least(0, spin_up=spin_up)
    check_positive(dt_frame=dt_frame, dt=dt)
    x = forcing + 0.01 * samples.normal(sites)
    if spin_up > 0:
        x = advance(x, forcing, *whole_steps(spin_up, dt))
    out = torch.empty(len(samples), frames, sites, dtype=samples.dtype)
    steps, step = whole_steps(dt_frame, dt)
    for frame in range(frames):
        if frame:
            x = advance(x, forcing, steps, step)
        if frame % 64 == 0 or frame == frames - 1:
            check_finite(x, spin_up + frame * dt_frame, dt)
            samples.progress((frame + 1) / frames)
        out[:, frame] = x
    times = dt_frame * torch.arange(frames, dtype=torch.float64)
    return Solution(
        fields={"x": Field(out, ("time", "site"), "state")},
        axes={
            "time": Axis(times, "time after the spin-up"),
            "site": Axis(torch.arange(sites), "place on the ring", periodic=True),
        },
    )


def tendency(x: Tensor, forcing: float) -> Tensor:
    """dx/dt of states `(..., sites)`."""
    ring = torch.cat((x[..., -2:], x, x[..., :1]), -1)
    return (ring[..., 3:] - ring[..., :-3]) * ring[..., 1:-2] - x + forcing


def advance(x: Tensor, forcing: float, steps: int, step: float) -> Tensor:
    """States after so many steps of the classical Runge-Kutta method."""
    for _ in range(steps):
        k1 = tendency(x, forcing)
        k2 = tendency(x + 0.5 * step * k1, forcing)
        k3 = tendency(x + 0.5 * step * k2, forcing)
        k4 = tendency(x + step * k3, forcing)
        x = x + step / 6 * (k1 + 2 * (k2 + k3) + k4)
    return x
