"""Viscous Burgers equation on a periodic interval: initial value to final value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor

from surform.data.solvers.advection1d import burgers_term, difference, values, wavenumbers
from surform.data.solvers.checks import check_at_least, check_finite, check_positive, whole_steps
from surform.data.solvers.etdrk4 import ETDRK4
from surform.data.solvers.random_fields import periodic_line
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["burgers", "integrate"]

BATCH = 64
_REPORTS = 100


def burgers(
    samples: Samples,
    *,
    points: int = 8192,
    modes: int = 1024,
    dt: float = 1e-3,
    end_time: float = 1.0,
    viscosity: float = 0.1,
    sigma: float = 25.0,
    tau: float = 5.0,
    gamma: float = 2.0,
    derivative_points: int = 8192,
) -> Solution:
    """Initial and final state of Burgers' equation: u_t + u u_x = viscosity u_xx.

    Periodic on [0, 1]; the initial states are Gaussian, N(0, sigma^2 (-Lap + tau^2)^-gamma). The
    defaults are the "R10" data of Li et al. (FNO, arXiv 2010.08895). Pseudo-spectral, ETDRK4 with
    the 2/3 rule, in float64 whatever dtype is stored. `du_dx` is the central difference of the
    final state over `derivative_points` cells, the target of the H1 loss of Cao (arXiv 2105.14995).

    Args:
        points: stored points; values are interpolated spectrally when it differs from `modes`.
        modes: points that the equation is solved on.
        dt: longest time step.
        end_time: time of the final state.
        viscosity: kinematic viscosity.
        sigma: scale of the initial states.
        tau: inverse length scale of the initial states.
        gamma: smoothness of the initial states.
        derivative_points: points of the finest grid, for `du_dx`.
    """
    check_at_least(4, points=points, modes=modes, derivative_points=derivative_points)
    check_positive(dt=dt, end_time=end_time, viscosity=viscosity)
    check_positive(sigma=sigma, tau=tau, gamma=gamma)
    if points % 2 or modes % 2:
        raise ValueError(f"points={points} and modes={modes} must be even")

    start = periodic_line(samples.normal(modes // 2, 2), modes, sigma, tau, gamma)
    u = integrate(start, viscosity, end_time, dt, samples.progress)
    x = torch.arange(points, dtype=torch.float64) / points

    def field(spectrum: Tensor, long_name: str) -> Field:
        return Field(values(spectrum, points).to(samples.dtype), ("x",), long_name)

    return Solution(
        fields={
            "u0": field(start, "velocity at time 0"),
            "u": field(u, f"velocity at time {end_time:g}"),
            "du_dx": field(difference(u, 1.0, derivative_points), "central difference of u"),
        },
        axes={"x": Axis(x, "position", periodic=True)},
    )


def integrate(
    start: Complex[Tensor, "b m"],
    viscosity: float,
    end_time: float,
    dt: float,
    progress: Callable[[float], None] | None = None,
) -> Complex[Tensor, "b m"]:
    """Advance the `rfft` coefficients of u, period 1, to `end_time` in steps of at most `dt`."""
    points = 2 * (start.shape[-1] - 1)
    k = wavenumbers(points, 1.0, start.device)
    steps, dt = whole_steps(end_time, dt)
    stepper = ETDRK4(-viscosity * k**2, burgers_term(points, 1.0, start.device), dt)
    u = start
    for i in range(steps):
        u = stepper.step(u)
        if progress is not None and i % max(1, steps // _REPORTS) == 0:
            progress((i + 1) / steps)
    check_finite(u, end_time, dt)
    return u
