"""Time steps of incompressible flow between two walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from surform.data.solvers.channel_modes import ChannelModes, Flow, times, turn

__all__ = ["BULK", "ChannelEquation"]

BULK = 2 / 3  # mean velocity of the laminar profile 1 - y^2, whose centreline velocity is 1

# Spalart, Moser and Rogers, J. Comput. Phys. 96 (1991): per stage the weights of the nonlinear
# terms (this stage's, the one's before) and of the viscous ones (before, after).
_STAGES = (
    (8 / 15, 0.0, 29 / 96, 37 / 160),
    (5 / 12, -17 / 60, -3 / 40, 5 / 24),
    (3 / 4, -5 / 12, 1 / 6, 1 / 6),
)


@dataclass(frozen=True)
class _Stage:
    """One stage of a step: weights of the forces, what friction leaves, what a force adds."""

    gamma: float
    zeta: float
    keep: Flow
    push: Flow

    def advance(self, flow: Flow, force: Flow, before: Flow | None) -> Flow:
        new = []
        for i, (a, n) in enumerate(zip(flow, force, strict=True)):
            both = n * self.gamma
            if before is not None:
                both.add_(before[i], alpha=self.zeta)
            new.append((a * self.keep[i]).addcmul_(both, self.push[i]))
        return Flow(*new)


class ChannelEquation:
    """u_t = u x omega - grad p + nu Lap u + G e_x between walls at y = -1 and 1.

    Galerkin's method with the divergence-free `ChannelModes`: no pressure, no splitting, no
    boundary conditions left to satisfy. Products are formed on 3/2 as many points along x and z,
    and on the ny Gauss-Legendre points along y; in this rotational form the nonlinear term
    conserves energy to round-off. Spalart, Moser and Rogers' three stages: third-order Runge-Kutta
    for it, Crank-Nicolson for viscosity, which is diagonal.

    All is seen from a frame that moves with velocity `frame` along x, where the flow is slower and
    the steps can be longer; after a time t the flow has moved by `frame` t in it.

    Args:
        modes: of the channel.
        viscosity: nu; the half height is 1.
        dt: time step.
        pressure_gradient: G; None keeps the bulk velocity at `BULK` and finds G.
        frame: velocity of the frame.
    """

    def __init__(
        self,
        modes: ChannelModes,
        viscosity: float,
        dt: float,
        pressure_gradient: float | None = None,
        frame: float = 0.0,
    ) -> None:
        self.modes, self.viscosity, self.dt, self.frame = modes, viscosity, dt, frame
        self.pressure_gradient = pressure_gradient
        self._buffers: dict[str, Tensor] = {}
        nx, ny, nz = modes.points
        self.fine = (3 * nx // 2, 3 * nz // 2)
        self.y, weights = leggauss(ny)
        self.at = modes.sampler(self.y)
        # the forward transforms are not scaled: 1 / points goes with the quadrature
        weight = torch.from_numpy(weights / (self.fine[0] * self.fine[1])).to(self.at.clamped)
        self.onto_clamped = torch.cat([*(self.at.clamped[:2] * weight[:, None])]).T.contiguous()
        self.onto_no_slip = (self.at.no_slip[0] * weight[:, None]).T.contiguous()
        # integrals of the toroidal modes, for the flux, and their slopes at the walls
        self.flux = modes.sampler(self.y, weights[None]).no_slip[0, 0][:, None]
        walls = modes.sampler(np.array([-1.0, 1.0])).no_slip[1]
        self.wall_slope = ((walls[0] - walls[1]) / 2)[:, None]
        self.rates = Flow(modes.poloidal_rates, modes.toroidal_rates, modes.mean_rates)
        self.stages = [self._stage(*weights) for weights in _STAGES]

    def _stage(self, gamma: float, zeta: float, alpha: float, beta: float) -> _Stage:
        decays = [self.viscosity * self.dt * rate for rate in self.rates]
        keep = Flow(*((1 - alpha * decay) / (1 + beta * decay) for decay in decays))
        return _Stage(gamma, zeta, keep, Flow(*(self.dt / (1 + beta * d) for d in decays)))

    def step(self, flow: Flow) -> tuple[Flow, Tensor]:
        """Advance by one time step; also return the mean pressure gradient G (B,)."""
        before: Flow | None = None
        total = torch.zeros_like(flow.mean[0, 0])
        for stage in self.stages:
            force = self.force(flow)
            flow = stage.advance(flow, force, before)
            part = stage.gamma + stage.zeta
            total += part * self._drive(flow.mean, part * self.flux * stage.push.mean)
            before = force
        return flow, total

    def _drive(self, mean: Tensor, push: Tensor) -> Tensor:
        """Add a stage's pressure gradient G to the mean (2, n, B) in place, and return it (B,)."""
        if self.pressure_gradient is None:
            gradient = (2 * BULK - (self.flux * mean[0]).sum(0)) / (self.flux * push).sum()
        else:
            gradient = torch.full_like(mean[0, 0], self.pressure_gradient)
        mean[0] += push * gradient
        return gradient

    def wall_stress(self, flow: Flow) -> Tensor:
        """The mean friction u_tau^2 on the two walls, (B,)."""
        return self.viscosity * (self.wall_slope * flow.mean[0]).sum(0)

    def courant(self, flow: Flow) -> Tensor:
        """Time step times the fastest phase that the grid resolves, (B,); stable below 1.7."""
        modes = self.modes
        u, v, w = self.physical(modes.velocity(flow, self.at))
        along = (u - self.frame).abs() * modes.highest[0]
        wall = modes.degree / torch.from_numpy(np.sqrt(1 - self.y**2)).to(v)
        rate = along + v.abs() * wall[:, None, None, None] + w.abs() * modes.highest[1]
        return self.dt * rate.amax((0, 2, 3))

    def force(self, flow: Flow) -> Flow:
        """The projection of u x omega onto the modes."""
        fields = self.kinematics(flow)
        fields[0, :, :, 0, 0] -= self.frame
        shape = (*fields.shape[:-2], *self.fine)
        fields = self.physical(fields, self._buffer("fields", shape, fields.real))
        return self.project(
            self.products(fields, self._buffer("products", (3, *shape[1:]), fields))
        )

    def physical(self, coefficients: Tensor, out: Tensor | None = None) -> Tensor:
        """Fields (..., fine nx, fine nz) on the product grid from coefficients (..., nx, m)."""
        half, m, (fine_x, fine_z) = self.modes.half_x, self.modes.half_z, self.fine
        lead = coefficients.shape[:-2]
        waves = self._buffer("waves", (*lead, fine_x, m), coefficients)
        lines = self._buffer("lines", (*lead, fine_x, fine_z // 2 + 1), coefficients)
        waves[..., :half, :] = coefficients[..., :half, :]
        waves[..., fine_x - half + 1 :, :] = coefficients[..., half + 1 :, :]
        lines[..., :m] = torch.fft.ifft(waves, dim=-2, norm="forward")
        return torch.fft.irfft(lines, n=fine_z, dim=-1, norm="forward", out=out)

    def _buffer(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Memory that is used again at every call: a new one would be cleared page by page."""
        found = self._buffers.get(name)
        if found is None or found.shape != shape:
            found = self._buffers[name] = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return found

    def products(self, fields: Tensor, out: Tensor) -> Tensor:
        """u x omega (3, ...) from u and omega, (6, ...)."""
        u, v, w, x, y, z = fields
        for i, (a, b, c, d) in enumerate(((v, z, w, y), (w, x, u, z), (u, y, v, x))):
            torch.mul(a, b, out=out[i]).addcmul_(c, d, value=-1)
        return out

    def project(self, fields: Tensor) -> Flow:
        """Amplitudes of a vector field (3, ny, B, fine nx, fine nz), its gradient part left out."""
        modes = self.modes
        f = self._transform(fields)
        mean = torch.stack([self.onto_no_slip @ f[i, :, :, 0, 0, 0] for i in (0, 2)])
        across = torch.mul(f[0], modes.g).addcmul_(f[2], modes.e, value=-1)
        onto = f.new_empty(2, *across.shape)
        turn(f[1], onto[0], 1j)
        torch.mul(f[0], modes.e_over, out=onto[1]).addcmul_(f[2], modes.g_over)
        products = times(self.onto_clamped[None], onto.flatten(0, 1))[0]
        return Flow(modes.amplitudes(products), times(self.onto_no_slip[None], across)[0], mean)

    def _transform(self, fields: Tensor) -> Tensor:
        """Unscaled coefficients (3, ny, B, nx, m, 2) of fields on the product grid."""
        half, m = self.modes.half_x, self.modes.half_z
        shape = (*fields.shape[:-1], fields.shape[-1] // 2 + 1)
        lines = self._buffer("transforms", shape, torch.view_as_complex(fields.new_empty(2)))
        lines = torch.fft.rfft(fields, dim=-1, out=lines)[..., :m]
        full = torch.fft.fft(lines, dim=-2)
        kept = full.new_empty(*full.shape[:-2], 2 * half, m)
        kept[..., :half, :] = full[..., :half, :]
        kept[..., half, :] = 0
        kept[..., half + 1 :, :] = full[..., full.shape[-2] - half + 1 :, :]
        return torch.view_as_real(kept)

    def kinematics(self, flow: Flow) -> Tensor:
        """Coefficients (6, ny, B, nx, m) of velocity and vorticity at the quadrature points."""
        modes = self.modes
        value, slope, bend = times(self.at.clamped, modes.coefficients(flow.poloidal))
        swirl, shear = times(self.at.no_slip, flow.toroidal)
        out = value.new_empty(6, *value.shape)
        u, v, w, x, y, z = out
        torch.mul(slope, modes.e_over, out=u).addcmul_(swirl, modes.g)
        torch.mul(slope, modes.g_over, out=w).addcmul_(swirl, modes.e, value=-1)
        turn(value, v, -1j)
        # with t = s''/|k| - |k| s: g t - e h', i |k| h and -(e t + g h')
        torch.mul(bend, modes.g_over, out=x).addcmul_(value, modes.g_times, value=-1)
        x.addcmul_(shear, modes.e, value=-1)
        turn(swirl.mul_(modes.size), y, 1j)
        torch.mul(value, modes.e_times, out=z).addcmul_(bend, modes.e_over, value=-1)
        z.addcmul_(shear, modes.g, value=-1)
        streamwise, spanwise = (
            times(self.at.no_slip, flow.mean[0]),
            times(self.at.no_slip, flow.mean[1]),
        )
        modes.set_mean(u, streamwise[0])
        modes.set_mean(w, spanwise[0])
        modes.set_mean(x, spanwise[1])
        modes.set_mean(z, -streamwise[1])
        return torch.view_as_complex(out)
