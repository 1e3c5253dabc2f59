"""Navier-Stokes equations on a periodic square in vorticity form: forced or decaying."""

from __future__ import annotations

import math
from typing import Literal

import torch

from surform.data.solvers.checks import check_at_least, check_divides, check_positive
from surform.data.solvers.frames import record
from surform.data.solvers.random_fields import periodic_square
from surform.data.solvers.samples import Axis, Field, Samples, Solution
from surform.data.solvers.vorticity import VorticityEquation

__all__ = ["navier_stokes"]

_SPEED = 1.0  # above the highest speeds met with the default force and initial fields
_COURANT = 0.25


def navier_stokes(
    samples: Samples,
    *,
    grid: int = 256,
    stride: int = 4,
    frames: int = 51,
    dt_frame: float = 1.0,
    dt: float | None = None,
    viscosity: float = 1e-3,
    forcing: Literal["diagonal", "none"] = "diagonal",
    amplitude: float = 0.1,
    tau: float = 7.0,
    alpha: float = 2.5,
) -> Solution:
    """Vorticity of two-dimensional Navier-Stokes flow: w_t + u.grad w = viscosity Lap w + f.

    On the periodic unit square, the setting of Li et al. (FNO, arXiv 2010.08895):
    f = amplitude (sin 2 pi (x + y) + cos 2 pi (x + y)), or "none" for decaying flow; the initial
    fields are N(0, tau^(2 alpha - 2) (-Lap + tau^2)^-alpha). Pseudo-spectral, Crank-Nicolson for
    diffusion and Heun for advection and forcing.

    Args:
        grid: points per side that the equation is solved on.
        stride: keep every so many-th point per side.
        frames: stored frames per sample; the first one is the initial state.
        dt_frame: time between frames.
        dt: longest time step; the default keeps the Courant number below 0.25.
        viscosity: kinematic viscosity.
        forcing: "diagonal" (the published force) or "none".
        amplitude: size of the force.
        tau: inverse length scale of the initial fields.
        alpha: smoothness of the initial fields.
    """
    check_at_least(4, grid=grid)
    check_at_least(1, frames=frames)
    check_at_least(0, viscosity=viscosity)
    check_positive(dt_frame=dt_frame, tau=tau, alpha=alpha)
    check_divides("grid", grid, "stride", stride)
    dt = dt if dt is not None else _COURANT / grid / _SPEED
    check_positive(dt=dt)

    x = torch.arange(grid, dtype=torch.float64) / grid
    phase = 2 * math.pi * (x[:, None] + x)
    force = amplitude * (phase.sin() + phase.cos()) if forcing == "diagonal" else None

    def equation(step: float) -> VorticityEquation:
        return VorticityEquation(
            grid, 1.0, viscosity, 0.0, force, step, samples.dtype, samples.device
        )

    noise = samples.normal(grid, grid // 2 + 1, 2)
    start = periodic_square(noise, sigma=tau ** (alpha - 1), tau=tau, alpha=alpha, length=1.0)
    vorticity, times = record(samples, start, equation, dt, frames, dt_frame, 0.0, stride)
    return Solution(
        fields={"vorticity": Field(vorticity, ("time", "x", "y"), "vorticity")},
        axes={
            "time": Axis(times, "time"),
            "x": Axis(x[::stride], "position", periodic=True),
            "y": Axis(x[::stride], "position", periodic=True),
        },
    )
