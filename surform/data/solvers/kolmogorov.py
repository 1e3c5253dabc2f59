"""Kolmogorov flow: the two-dimensional vorticity equation driven by a sinusoidal force."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_divides, check_positive
from surform.data.solvers.frames import record
from surform.data.solvers.random_fields import periodic_square
from surform.data.solvers.samples import Axis, Field, Samples, Solution
from surform.data.solvers.vorticity import VorticityEquation

__all__ = ["kolmogorov"]

# Highest speed met after the initial field has settled, over the laminar or unit forcing scale.
_SPEED = 6.0
_COURANT = 0.25


def kolmogorov(
    samples: Samples,
    *,
    grid: int = 256,
    stride: int = 1,
    frames: int = 320,
    dt_frame: float = 1 / 32,
    dt: float | None = None,
    spin_up: float = 2.0,
    reynolds: float = 1000.0,
    forcing_wavenumber: int = 8,
    drag: float = 0.1,
) -> Solution:
    """Vorticity of Kolmogorov flow: w_t + u.grad w = Lap w / Re - drag w - n cos(n y).

    On the periodic square [0, 2 pi]^2 from Gaussian random fields (alpha 2.5, tau 7), the setting
    of Li, Shu and Barati Farimani (FactFormer, arXiv 2305.17560), whose data have grid=2048,
    stride=8, dt=1e-4, 120 samples and otherwise these defaults.
    Pseudo-spectral: Crank-Nicolson for diffusion and drag, Heun for advection and forcing.

    Args:
        grid: points per side that the equation is solved on.
        stride: keep every so many-th point per side.
        frames: stored frames per sample; the first one is the state after the spin-up.
        dt_frame: time between frames.
        dt: longest time step; the default keeps the Courant number at 0.25 for the fastest flow.
        spin_up: time before the first frame.
        reynolds: Reynolds number Re.
        forcing_wavenumber: n of the force, which varies along the last axis y.
        drag: linear friction.
    """
    check_at_least(4, grid=grid)
    check_at_least(1, frames=frames, forcing_wavenumber=forcing_wavenumber)
    check_at_least(0, spin_up=spin_up, drag=drag)
    check_positive(reynolds=reynolds, dt_frame=dt_frame)
    check_divides("grid", grid, "stride", stride)
    if forcing_wavenumber > grid / 3:
        raise ValueError(
            f"forcing_wavenumber={forcing_wavenumber} is not resolved by grid={grid}: "
            f"it may be at most {grid // 3}"
        )
    dt = dt if dt is not None else _COURANT * (2 * math.pi / grid) / _SPEED
    check_positive(dt=dt)

    x = 2 * math.pi * torch.arange(grid, dtype=torch.float64) / grid
    n = forcing_wavenumber
    force = (-n * torch.cos(n * x)).expand(grid, grid)

    def equation(step: float) -> VorticityEquation:
        return VorticityEquation(
            grid, 2 * math.pi, 1 / reynolds, drag, force, step, samples.dtype, samples.device
        )

    noise = samples.normal(grid, grid // 2 + 1, 2)
    start = periodic_square(noise, sigma=7.0**1.5, tau=7.0, alpha=2.5, length=2 * math.pi)
    vorticity, times = record(samples, start, equation, dt, frames, dt_frame, spin_up, stride)
    return _solution(vorticity, x[::stride], times)


def _solution(vorticity: Tensor, x: Tensor, times: Tensor) -> Solution:
    return Solution(
        fields={"vorticity": Field(vorticity, ("time", "x", "y"), "vorticity")},
        axes={
            "time": Axis(times, "time after the spin-up"),
            "x": Axis(x, "position across the force", periodic=True),
            "y": Axis(x, "position along which the force varies", periodic=True),
        },
    )
