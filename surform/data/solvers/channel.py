"""Turbulent flow in a plane channel: direct numerical simulation, stored on a coarser grid."""

from __future__ import annotations

import math
from typing import Literal

from surform.data.solvers.channel_grid import CoarseGrid
from surform.data.solvers.channel_modes import ChannelModes
from surform.data.solvers.channel_run import COURANT, ChannelRun
from surform.data.solvers.channel_step import ChannelEquation
from surform.data.solvers.checks import check_at_least, check_positive, whole_steps
from surform.data.solvers.samples import Samples, Solution

__all__ = ["channel", "laminar_reynolds", "longest_step"]

BATCH = 1  # a sample takes minutes to hours, and only memory grows with more of them at once

_FRAME = 0.5  # velocity of the frame: about half of the fastest flow
_SPEEDS = (0.5, 0.2, 0.3)  # of u, v and w in this frame, near their highest in turbulence


def channel(
    samples: Samples,
    *,
    reynolds_tau: float = 180.0,
    reynolds: float | None = None,
    grid_x: int = 32,
    grid_y: int = 65,
    grid_z: int = 32,
    length_x: float = math.pi,
    length_z: float = 0.34 * math.pi,
    keep_x: int = 16,
    keep_y: int = 33,
    keep_z: int = 16,
    spacing_y: Literal["uniform", "cosine"] = "uniform",
    average_y: bool = False,
    frames: int = 400,
    dt_frame: float = 1.0,
    dt: float | None = None,
    spin_up: float = 20.0,
    coarse: float = 0.75,
    noise: float = 0.1,
    drive: Literal["flux", "pressure"] = "flux",
) -> Solution:
    """Velocity of turbulent flow between two walls: u_t + u.grad u = -grad p + nu Lap u + G e_x.

    Lengths are in half heights h; the velocity unit is the centreline velocity of the laminar flow
    of the same flux, so that the bulk velocity is 2/3 and nu = 1/reynolds. The default is a
    minimal channel (Jimenez and Moin, J. Fluid Mech. 225, 1991). The data of Yang et al.
    (IFactFormer-m, arXiv 2412.18840) have grid_x=192, grid_y=129, grid_z=64, length_x=4 pi,
    length_z=4 pi/3, keep_x=32, keep_z=16, 21 samples and otherwise these defaults.
    Fourier modes along x and z (3/2 rule), divergence-free Legendre modes across (Moser, Moin and
    Leonard, J. Comput. Phys. 52, 1983), three-stage Runge-Kutta and Crank-Nicolson in time.

    Args:
        reynolds_tau: friction Reynolds number u_tau h/nu that is aimed at.
        reynolds: laminar centreline velocity times h/nu; the default follows from reynolds_tau.
        grid_x: points along the flow that the equation is solved on.
        grid_y: points across.
        grid_z: points along the span.
        length_x: period along the flow.
        length_z: period along the span.
        keep_x: stored points along the flow; shorter waves are cut off.
        keep_y: stored points from wall to wall, both included.
        keep_z: stored points along the span; shorter waves are cut off.
        spacing_y: of the stored points across: "uniform" or "cosine", dense at the walls.
        average_y: store averages over the cells across instead of values at the points.
        frames: stored frames per sample; the first one is the state after the spin-up.
        dt_frame: time between frames.
        dt: longest time step; the default suits turbulence, and any is checked on the way.
        spin_up: time before the first frame in h/u_tau of the aimed at reynolds_tau.
        coarse: share of the spin-up, from the start, on half as many points along each axis.
        noise: root mean square of the initial noise over the laminar centreline velocity.
        drive: what is kept constant: "flux" or "pressure" gradient, G = u_tau^2.
    """
    points, kept = (grid_x, grid_y, grid_z), (keep_x, keep_y, keep_z)
    _check_grid(points, kept)
    check_positive(
        reynolds_tau=reynolds_tau, dt_frame=dt_frame, length_x=length_x, length_z=length_z
    )
    check_at_least(1, frames=frames)
    check_at_least(0, spin_up=spin_up, noise=noise)
    reynolds = laminar_reynolds(reynolds_tau) if reynolds is None else reynolds
    check_positive(reynolds=reynolds, dt=1.0 if dt is None else dt)
    if not 0 <= coarse < 1:
        raise ValueError(f"coarse is {coarse}, but it must be at least 0 and below 1")
    few = (2 * math.ceil(grid_x / 4), max(8, (grid_y + 1) // 2), 2 * math.ceil(grid_z / 4))
    u_tau = reynolds_tau / reynolds
    gradient = u_tau**2 if drive == "pressure" else None

    def equation(points: tuple[int, int, int], interval: float) -> tuple[ChannelEquation, int]:
        """The equation on these points, and the number of its steps in an interval."""
        modes = ChannelModes(points, (length_x, length_z), samples.dtype, samples.device)
        steps, step = whole_steps(interval, longest_step(modes) if dt is None else dt)
        return ChannelEquation(modes, 1 / reynolds, step, gradient, _FRAME), steps

    flow, per_frame = equation(points, dt_frame)
    first, _ = equation(few, dt_frame)
    begin = math.floor(coarse * spin_up / u_tau / first.dt)
    left = spin_up / u_tau - begin * first.dt
    warm_up = math.ceil(left / flow.dt * (1 - 1e-12))
    grid = CoarseGrid(flow.modes, kept, spacing_y, average_y)
    run = ChannelRun(flow, first, grid, samples, begin, warm_up, per_frame, frames, noise)
    return run.solution()


def laminar_reynolds(reynolds_tau: float) -> float:
    """The laminar centreline velocity times h/nu that gives a turbulent flow this Reynolds number.

    4200 at 180; a power law through this and the published 10500 at 395 and 16800 at 590, both of
    which it meets to 0.2 %.
    """
    return 4200 * (reynolds_tau / 180) ** 1.168


def longest_step(modes: ChannelModes) -> float:
    """The time step that suits turbulence on this grid."""
    u, v, w = _SPEEDS
    fastest = u * modes.highest[0] + v * modes.degree + w * modes.highest[1]
    return COURANT / fastest


def _check_grid(points: tuple[int, int, int], kept: tuple[int, int, int]) -> None:
    for axis, solved, stored in zip("xyz", points, kept, strict=True):
        if axis == "y":
            check_at_least(8, grid_y=solved)
            check_at_least(2, keep_y=stored)
            continue
        for name, count in ((f"grid_{axis}", solved), (f"keep_{axis}", stored)):
            if count < 2 or count % 2:
                raise ValueError(f"{name} is {count}, but it must be an even number above 0")
        if stored > solved:
            raise ValueError(f"keep_{axis}={stored} is more than grid_{axis}={solved}")
