"""Flow between two walls as amplitudes of divergence-free modes, and its velocity anywhere."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surform.data.solvers.wall_modes import (
    clamped_values,
    no_slip_values,
    poloidal_modes,
    toroidal_modes,
)

__all__ = ["ChannelModes", "Flow", "Sampler"]


class Flow(NamedTuple):
    """Amplitudes of the modes, each of unit kinetic energy: see `ChannelModes.energy`.

    Real tensors. nx counts the waves along x in the order of the FFT, its middle (Nyquist) one
    being zero; waves along z are kz >= 0, m = nz / 2 of them; the last 2 are real and imaginary.

    Attributes:
        poloidal: (nx/2 * m, 4 B, n), batched over |kx| and kz; rows are (sign of kx, B, 2).
        toroidal: (n, B, nx, m, 2).
        mean: (2, n, B), the plane averages of u and w.
    """

    poloidal: Tensor
    toroidal: Tensor
    mean: Tensor


class Sampler(NamedTuple):
    """Values at points y: of v, v', v'' (3, q, n), of toroidal modes and slopes (2, q, n)."""

    clamped: Tensor
    no_slip: Tensor


class ChannelModes:
    """The modes of a channel of half height 1, and how amplitudes become velocities.

    With |k| e = kx and |k| g = kz, the poloidal part is u = e s'/|k|, v = -i s, w = g s'/|k|, the
    toroidal one u = g h, w = -e h: with these phases all but v and the y vorticity are real
    combinations. Velocity and divergence are exact polynomials of degree `points[1] - 1` in y.

    Args:
        points: (nx, ny, nz); nx and nz even.
        lengths: periods along x and z.
        dtype: float32 or float64.
        device: where to compute.
    """

    def __init__(
        self,
        points: tuple[int, int, int],
        lengths: tuple[float, float],
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        nx, ny, nz = points
        self.points, self.lengths, self.degree = points, lengths, ny - 1
        self.options = {"dtype": dtype, "device": device}
        double = {"dtype": torch.float64, "device": device}
        self.half_x, self.half_z = nx // 2, nz // 2
        kx = 2 * math.pi / lengths[0] * torch.fft.fftfreq(nx, 1 / nx, **double)[:, None]
        kz = 2 * math.pi / lengths[1] * torch.arange(self.half_z, **double)
        kx[self.half_x] = 0
        self.kx, self.highest = kx[:, 0].clone(), (float(kx.max()), float(kz.max()))
        size = (kx.square() + kz.square()).sqrt()
        norm = size.clone()
        norm[0, 0] = norm[self.half_x, 0] = math.inf  # the mean has no direction
        e, g = kx / norm, kz / norm
        self.e, self.g, self.size = map(self._pairs, (e, g, size))
        self.e_over, self.g_over = self._pairs(e / norm), self._pairs(g / norm)
        self.e_times, self.g_times = self._pairs(e * size), self._pairs(g * size)

        waves = norm[: self.half_x].flatten()
        waves[0] = 1.0
        parts = poloidal_modes(self.degree, waves)
        for part in parts:
            part.vectors[0] = 0  # there is no mean flow through the walls
        self.parts = [self._cast(part.vectors.mT.contiguous()) for part in parts]
        self.poloidal_rates = self._cast(torch.cat([part.rates for part in parts], 1)[:, None])
        still = toroidal_modes(self.degree)
        self.no_slip = still.vectors
        rates = still.rates.to(device)
        self.toroidal_rates = self._pairs(rates[:, None, None, None] + size.square())
        self.mean_rates = self._cast(rates[:, None])
        # where each wave along x stands among (sign, |kx|), and back
        order = [*range(self.half_x), self.half_x, *range(nx - 1, self.half_x, -1)]
        self.to_signs = torch.tensor(order, device=device)
        self.from_signs = self.to_signs.argsort()

    def sampler(self, y: np.ndarray, weights: np.ndarray | None = None) -> Sampler:
        """The matrices that give velocities at the points y, -1 <= y <= 1.

        With `weights` (r, len(y)) they give weighted sums over these points instead.
        """
        clamped = clamped_values(y, self.degree)
        no_slip = no_slip_values(y, self.degree) @ self.no_slip
        if weights is not None:
            clamped, no_slip = (torch.from_numpy(weights) @ m for m in (clamped, no_slip))
        return Sampler(self._cast(clamped), self._cast(no_slip))

    def coefficients(self, poloidal: Tensor) -> Tensor:
        """s over the basis psi, (n, B, nx, m, 2), from poloidal amplitudes."""
        values = self._through(poloidal, self.parts)
        n = values.shape[2]
        values = values.view(self.half_x, self.half_z, 2, -1, 2, n)
        values = values.permute(5, 3, 2, 0, 1, 4).flatten(2, 3)  # (n, B, sign * |kx|, m, 2)
        return values.index_select(2, self.from_signs)

    def amplitudes(self, products: Tensor) -> Tensor:
        """Poloidal amplitudes from the integrals with the basis psi: the transpose of the above."""
        return self._through(self.rows(products), [part.mT for part in self.parts])

    def rows(self, values: Tensor) -> Tensor:
        """Values (n, B, nx, m, 2) in the layout of `Flow.poloidal`."""
        n, batch = values.shape[:2]
        values = values.index_select(2, self.to_signs)
        values = values.view(n, batch, 2, self.half_x, self.half_z, 2).permute(3, 4, 2, 1, 5, 0)
        return values.reshape(self.half_x * self.half_z, -1, n)

    def _through(self, rows: Tensor, parts: list[Tensor]) -> Tensor:
        sizes = [part.shape[-1] for part in parts]
        halves = rows.split(sizes, dim=-1)
        return torch.cat([torch.bmm(r, p) for r, p in zip(halves, parts, strict=True)], dim=-1)

    def energy(self, flow: Flow) -> Tensor:
        """The kinetic energy per area of the walls, the integral of <|u|^2> / 2 over y: (B,)."""
        return torch.stack(self.squares(flow)).sum(0) / 2

    def dissipation(self, flow: Flow) -> Tensor:
        """The integral of <|grad u|^2> over y, (B,): energy is lost at this rate times nu."""
        rates = (self.poloidal_rates, self.toroidal_rates, self.mean_rates)
        weighted = Flow(*(a * r.sqrt() for a, r in zip(flow, rates, strict=True)))
        return torch.stack(self.squares(weighted)).sum(0)

    def squares(self, flow: Flow) -> tuple[Tensor, Tensor, Tensor]:
        """Twice the kinetic energy of the poloidal, the toroidal and the mean flow, each (B,)."""
        twice = torch.full((self.half_z,), 2.0, **self.options)  # kz and -kz
        twice[0] = 1
        batch = flow.toroidal.shape[1]
        a = flow.poloidal.view(self.half_x, self.half_z, 2, batch, 2, -1)
        poloidal = torch.einsum("xzsbrn,z->b", a.square(), twice)
        toroidal = torch.einsum("nbxzr,z->b", flow.toroidal.square(), twice)
        return poloidal, toroidal, flow.mean.square().sum((0, 1))

    def velocity(self, flow: Flow, at: Sampler) -> Tensor:
        """Fourier coefficients (3, q, B, nx, m) of u, v and w at the points of a sampler."""
        s = self.coefficients(flow.poloidal)
        value, slope = times(at.clamped[:2], s)
        swirl = times(at.no_slip[:1], flow.toroidal)[0]
        out = value.new_empty(3, *value.shape)
        torch.mul(slope, self.e_over, out=out[0]).addcmul_(swirl, self.g)
        torch.mul(slope, self.g_over, out=out[2]).addcmul_(swirl, self.e, value=-1)
        turn(value, out[1], -1j)
        self.set_mean(out[0], at.no_slip[0] @ flow.mean[0])
        self.set_mean(out[2], at.no_slip[0] @ flow.mean[1])
        return torch.view_as_complex(out)

    def set_mean(self, field: Tensor, mean: Tensor) -> None:
        """Write the plane averages (q, B) into a field (q, B, nx, m, 2)."""
        field[:, :, 0, 0, 0] = mean
        field[:, :, 0, 0, 1] = 0

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(**self.options)

    def _pairs(self, values: Tensor) -> Tensor:
        """Repeat along a new last dim: broadcasting over (real, imaginary) pairs is slow."""
        return self._cast(values)[..., None].expand(*values.shape, 2).contiguous()


def times(matrices: Tensor, values: Tensor) -> Tensor:
    """Matrices (r, q, n) applied to the first dim of values (n, ...): (r, q, ...)."""
    product = matrices.flatten(0, 1) @ values.flatten(1)
    return product.view(*matrices.shape[:2], *values.shape[1:])


def turn(values: Tensor, out: Tensor, factor: complex) -> None:
    """Write values times a complex factor, both with (real, imaginary) last."""
    torch.mul(torch.view_as_complex(values), factor, out=torch.view_as_complex(out))
