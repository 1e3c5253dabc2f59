"""Pseudo-spectral time steps of the two-dimensional vorticity equation on a periodic square."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["VorticityEquation"]


class VorticityEquation:
    """w_t + u . grad w = viscosity Lap w - drag w + forcing, Crank-Nicolson and Heun.

    Diffusion and drag by Crank-Nicolson, advection and forcing by Heun's method, second order in
    dt. Modes with |k| > points/3 (a circle, in units of 2 pi/length) are removed, which also makes
    the quadratic term free of aliasing; the mean mode is kept at zero.

    Args:
        points: grid points per side.
        length: side of the square.
        viscosity: kinematic viscosity.
        drag: linear friction.
        forcing: (points, points) right-hand side, or None.
        dt: time step.
        dtype: float32 or float64.
        device: where to compute.
    """

    def __init__(
        self,
        points: int,
        length: float,
        viscosity: float,
        drag: float,
        forcing: Float[Tensor, "n n"] | None,
        dt: float,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.points, self.dt = points, dt
        options = {"dtype": torch.float64, "device": device}
        kx = torch.fft.fftfreq(points, 1 / points, **options)[:, None]
        ky = torch.fft.rfftfreq(points, 1 / points, **options)[None]
        mask = ((kx**2 + ky**2).sqrt() <= points / 3).double()
        mask[0, 0] = 0
        kx, ky = kx * (2 * math.pi / length), ky * (2 * math.pi / length)
        squared = kx**2 + ky**2
        inverse = mask / squared.clamp_min(1e-300)
        half = 0.5 * dt * (viscosity * squared + drag)
        # u = psi_y, v = -psi_x with psi = -Lap^-1 w
        self.velocity = (1j * torch.stack([ky * inverse, -kx * inverse])).to(dtype.to_complex())
        # -u.grad w = (kx^2 - ky^2) F[uv] + kx ky F[v^2 - u^2]: the curl of the momentum fluxes,
        # two forward transforms instead of the three fields of the advective form.
        fluxes = torch.stack([kx**2 - ky**2, kx * ky]) * mask
        self.fluxes = (dt * fluxes / (1 + half)).to(dtype)
        self.decay = (mask * (1 - half) / (1 + half)).to(dtype)
        self.mask = mask.to(dtype)
        self.forcing: Tensor | None = None
        if forcing is not None:
            spectrum = torch.fft.rfft2(forcing.to(**options))
            self.forcing = (dt * mask * spectrum / (1 + half)).to(dtype.to_complex())

    def step(self, w: Complex[Tensor, "b n m"]) -> Complex[Tensor, "b n m"]:
        """Advance the `rfft2` coefficients of the vorticity by one time step."""
        first = self._tendency(w)
        linear = w * self.decay
        second = self._tendency(linear + first)
        return linear.add_(first.add_(second), alpha=0.5)

    def _tendency(self, w: Tensor) -> Tensor:
        """dt times (advection + forcing), divided by Crank-Nicolson's 1 + dt/2 (nu k^2 + drag)."""
        shape = (self.points, self.points)
        u, v = torch.fft.irfft2(w[:, None] * self.velocity, s=shape).unbind(1)
        flux = torch.fft.rfft2(torch.stack([u * v, (v - u) * (v + u)], dim=1))
        flux *= self.fluxes
        tendency = flux[:, 0].add_(flux[:, 1])
        return tendency if self.forcing is None else tendency.add_(self.forcing)

    def spectrum(self, field: Float[Tensor, "b n n"]) -> Complex[Tensor, "b n m"]:
        """Return the resolved `rfft2` coefficients of a field."""
        return torch.fft.rfft2(field) * self.mask

    def field(self, w: Complex[Tensor, "b n m"]) -> Float[Tensor, "b n n"]:
        """Return the field with the given coefficients."""
        return torch.fft.irfft2(w, s=(self.points, self.points))

    def speed(self, w: Complex[Tensor, "b n m"]) -> Float[Tensor, " b"]:
        """Return the largest speed of each flow."""
        velocity = torch.fft.irfft2(w[:, None] * self.velocity, s=(self.points, self.points))
        return velocity.square().sum(1).amax((-2, -1)).sqrt()
