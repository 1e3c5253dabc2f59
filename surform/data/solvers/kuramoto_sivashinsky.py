"""Kuramoto-Sivashinsky equation on a periodic interval."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surform.data.solvers.advection1d import burgers_term, values, wavenumbers
from surform.data.solvers.checks import check_at_least, check_finite, check_positive, whole_steps
from surform.data.solvers.etdrk4 import ETDRK4
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["kuramoto_sivashinsky"]

BATCH = 64


def kuramoto_sivashinsky(
    samples: Samples,
    *,
    points: int = 256,
    modes: int = 256,
    length: float = 64.0,
    frames: int = 160,
    dt_frame: float = 1.0,
    dt: float = 0.05,
    spin_up: float = 0.0,
    waves: int = 10,
) -> Solution:
    """State of the Kuramoto-Sivashinsky equation: u_t + u u_x + u_xx + u_xxxx = 0.

    Periodic on [0, length]. The initial states are sums of `waves` sines with amplitudes in
    [-0.5, 0.5), wavenumbers 1 to 3 and any phase, as in Brandstetter, Welling and Worrall (arXiv
    2202.07643). Pseudo-spectral, ETDRK4 with the 2/3 rule, in float64 whatever dtype is stored.

    Args:
        points: stored points; values are interpolated spectrally when it differs from `modes`.
        modes: points that the equation is solved on.
        length: period.
        frames: stored frames per sample; the first one is the state after the spin-up.
        dt_frame: time between frames.
        dt: longest time step.
        spin_up: time before the first frame.
        waves: sines in the initial state.
    """
    check_at_least(8, points=points, modes=modes)
    check_at_least(1, frames=frames, waves=waves)
    check_at_least(0, spin_up=spin_up)
    check_positive(length=length, dt_frame=dt_frame, dt=dt)
    if points % 2 or modes % 2:
        raise ValueError(f"points={points} and modes={modes} must be even")

    k = wavenumbers(modes, length, samples.device)
    term = burgers_term(modes, length, samples.device)

    def run(u: Tensor, interval: float) -> Tensor:
        steps, step = whole_steps(interval, dt)
        if step not in steppers:
            steppers[step] = ETDRK4(k**2 - k**4, term, step)
        for _ in range(steps):
            u = steppers[step].step(u)
        return u

    steppers: dict[float, ETDRK4] = {}
    u = _initial(samples, modes, waves)
    if spin_up > 0:
        u = run(u, spin_up)
    out = torch.empty(len(samples), frames, points, dtype=samples.dtype)
    for frame in range(frames):
        if frame:
            u = run(u, dt_frame)
        check_finite(u, frame * dt_frame, dt)
        out[:, frame] = values(u, points)
        samples.progress((frame + 1) / frames)
    x = length * torch.arange(points, dtype=torch.float64) / points
    times = dt_frame * torch.arange(frames, dtype=torch.float64)
    return Solution(
        fields={"u": Field(out, ("time", "x"), "velocity")},
        axes={
            "time": Axis(times, "time after the spin-up"),
            "x": Axis(x, "position", periodic=True),
        },
    )


def _initial(samples: Samples, modes: int, waves: int) -> Tensor:
    amplitude = samples.uniform(-0.5, 0.5, waves)
    phase = samples.uniform(0, 2 * math.pi, waves)
    wavenumber = samples.integers(1, 4, waves).double()
    x = 2 * math.pi * torch.arange(modes, dtype=torch.float64, device=samples.device) / modes
    sines = torch.sin(wavenumber[..., None] * x + phase[..., None])
    return torch.fft.rfft((amplitude[..., None] * sines).sum(1))
