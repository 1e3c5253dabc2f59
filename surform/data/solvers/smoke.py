"""Buoyant smoke in a closed three-dimensional box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_finite, check_positive
from surform.data.solvers.mac import PressureSolver, advect, advect_velocity, diffuse, to_faces
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["smoke", "smoke_step"]

BATCH = 4
_LOWEST = 0.1


def smoke(
    samples: Samples,
    *,
    grid: int = 64,
    frames: int = 20,
    skip: int = 8,
    dt: float = 0.75,
    length: float = 8.0,
    buoyancy: float = 0.5,
    viscosity: float = 0.003,
    noise_scale: float = 15.0,
    noise_smoothness: float = 4.0,
) -> Solution:
    """Smoke density and velocity of buoyant flow in a closed box: incompressible Navier-Stokes.

    The setting of FactFormer (Li, Shu and Barati Farimani, arXiv 2305.17560), after PDEArena
    (Gupta and Brandstetter, arXiv 2209.15616). The smoke begins as |noise|, the velocity at zero.
    Staggered grid; each step moves the smoke and the velocity (semi-Lagrangian), adds
    buoyancy x smoke along z, diffuses explicitly and projects. Velocity component a is stored on
    the lower faces of the cells across a, so that it is zero at index 0.

    Args:
        grid: cells per side.
        frames: stored steps per sample.
        skip: steps before the first stored one.
        dt: time step.
        length: side of the box.
        buoyancy: acceleration of unit smoke along z.
        viscosity: kinematic viscosity.
        noise_scale: waves longer than noise_scale / sqrt(0.1) are left out of the noise.
        noise_smoothness: modes fall off as wavenumber^(-2 smoothness).
    """
    check_at_least(4, grid=grid)
    check_at_least(1, frames=frames)
    check_at_least(0, skip=skip, viscosity=viscosity, noise_smoothness=noise_smoothness)
    check_positive(dt=dt, length=length, noise_scale=noise_scale)
    h = length / grid
    density = _noise(samples, grid, noise_scale / length, noise_smoothness).abs().to(samples.dtype)
    solver = PressureSolver(grid, h, samples.dtype, samples.device)
    velocity = [torch.zeros_like(to_faces(density, axis)) for axis in range(3)]
    out = torch.empty(4, len(samples), frames, grid, grid, grid, dtype=samples.dtype)
    for step in range(skip + frames):
        density, velocity = smoke_step(density, velocity, solver, dt, buoyancy, viscosity)
        if step >= skip:
            check_finite(density, (step + 1) * dt, dt)
            lower = [v.narrow(axis + 1, 0, grid) for axis, v in enumerate(velocity)]
            out[:, :, step - skip] = torch.stack([density, *lower])
        samples.progress((step + 1) / (skip + frames))

    axes = ("time", "x", "y", "z")
    names = {"smoke": "smoke density at cell centres"}
    names |= {f"velocity_{a}": f"velocity along {a} at lower cell faces" for a in "xyz"}
    centres = h * (torch.arange(grid, dtype=torch.float64) + 0.5)
    times = dt * torch.arange(skip + 1, skip + frames + 1, dtype=torch.float64)
    fields = zip(names.items(), out, strict=True)
    return Solution(
        fields={name: Field(values, axes, text) for (name, text), values in fields},
        axes={
            "time": Axis(times, "time"),
            **{a: Axis(centres, "position of cell centres", periodic=False) for a in "xyz"},
        },
    )


def smoke_step(
    density: Tensor,
    velocity: list[Tensor],
    solver: PressureSolver,
    dt: float,
    buoyancy: float,
    viscosity: float,
) -> tuple[Tensor, list[Tensor]]:
    """Advance smoke (B, n, n, n) and velocity (see `mac`) by one time step."""
    courant = dt / solver.h
    density = advect(density, velocity, courant)
    velocity = advect_velocity(velocity, courant)
    velocity[2] = velocity[2] + dt * buoyancy * to_faces(density, 2)
    return density, solver.project(diffuse(velocity, viscosity * dt / solver.h**2))


def _noise(samples: Samples, grid: int, scale: float, smoothness: float) -> Tensor:
    """Return smooth periodic noise of zero mean and unit standard deviation, (B, n, n, n)."""
    noise = torch.view_as_complex(samples.normal(grid, grid, grid, 2))
    k = scale * torch.fft.fftfreq(grid, 1 / grid, dtype=torch.float64, device=samples.device)
    squared = k[:, None, None] ** 2 + k[:, None] ** 2 + k**2
    weight = torch.where(squared > _LOWEST, squared.clamp_min(_LOWEST) ** -smoothness, 0.0)
    if not bool(weight.any()) or not math.isfinite(float(weight.sum())):
        raise ValueError("noise_scale is so small that no mode is left of the noise")
    field = torch.fft.ifftn(noise * weight, dim=(1, 2, 3)).real
    field = field - field.mean((1, 2, 3), keepdim=True)
    return field / field.std((1, 2, 3), keepdim=True)
