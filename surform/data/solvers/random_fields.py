"""Gaussian random fields with the covariances of the published data sets."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["neumann_square", "periodic_line", "periodic_square"]


def periodic_line(
    noise: Float[Tensor, "b k 2"], points: int, sigma: float, tau: float, gamma: float
) -> Complex[Tensor, "b m"]:
    """Draw zero-mean fields on the unit circle with covariance sigma^2 (-Lap + tau^2)^-gamma.

    Karhunen-Loeve: sum over k >= 1 of lam_k (xi_k cos 2 pi k x + eta_k sin 2 pi k x) with
    lam_k = sqrt2 sigma ((2 pi k)^2 + tau^2)^(-gamma/2). Mode k uses noise[:, k-1], so a finer
    grid continues the same field.

    Returns:
        The `torch.fft.rfft` coefficients of the fields on `points` points, m = points/2 + 1.
    """
    modes = min(noise.shape[1], points // 2)
    wavenumber = 2 * math.pi * torch.arange(1, modes + 1, dtype=noise.dtype, device=noise.device)
    scale = math.sqrt(2) * sigma * (wavenumber**2 + tau**2) ** (-gamma / 2)
    cosine, sine = noise[:, :modes].unbind(-1)
    spectrum = torch.zeros(
        noise.shape[0], points // 2 + 1, dtype=torch.complex128, device=noise.device
    )
    spectrum[:, 1 : modes + 1] = torch.complex(cosine, -sine) * scale * (points / 2)
    return spectrum


def periodic_square(
    noise: Float[Tensor, "b n m 2"], sigma: float, tau: float, alpha: float, length: float
) -> Complex[Tensor, "b n m"]:
    """Draw zero-mean fields on a periodic square with covariance ~ (-Lap + tau^2)^-alpha.

    Mode k is n^2 sqrt2 sigma (|k|^2 + tau^2)^(-alpha/2) times a complex normal number whose parts
    have variance 1/2, with wavenumbers k in multiples of 2 pi/length.

    Returns:
        `torch.fft.rfft2` coefficients of real fields on (n, n) points, m = n/2 + 1.
    """
    points = noise.shape[1]
    unit = 2 * math.pi / length
    kx = torch.fft.fftfreq(points, 1 / points, dtype=noise.dtype, device=noise.device)
    ky = torch.fft.rfftfreq(points, 1 / points, dtype=noise.dtype, device=noise.device)
    squared = unit**2 * (kx[:, None] ** 2 + ky[None] ** 2)
    scale = points**2 * math.sqrt(2) * sigma * (squared + tau**2) ** (-alpha / 2)
    scale[0, 0] = 0
    spectrum = torch.view_as_complex(noise.contiguous()) * (scale * math.sqrt(0.5))
    # The columns 0 and n/2 are their own mirror images; through real space they become consistent.
    return torch.fft.rfft2(torch.fft.irfft2(spectrum, s=(points, points)))


def neumann_square(
    noise: Float[Tensor, "b k k"], nodes: Float[Tensor, " n"], tau: float, alpha: float
) -> Float[Tensor, "b n n"]:
    """Draw fields on the unit square with covariance ~ (-Lap + tau^2)^-alpha and no normal slope.

    The coefficient of cos(pi k1 x) cos(pi k2 y) is tau^(alpha-1) (pi^2 |k|^2 + tau^2)^(-alpha/2)
    times a normal number, mode (0, 0) is zero, and the basis is orthonormal on the square: at the
    centres of k cells this is k times the orthonormal inverse DCT-II of the coefficients.
    The series is summed at any `nodes` in [0, 1].
    """
    order = torch.arange(noise.shape[1], dtype=noise.dtype, device=noise.device)
    squared = math.pi**2 * (order[:, None] ** 2 + order[None] ** 2)
    coefficient = noise * tau ** (alpha - 1) * (squared + tau**2) ** (-alpha / 2)
    coefficient[:, 0, 0] = 0
    basis = math.sqrt(2) * torch.cos(math.pi * nodes[:, None].to(noise) * order[None])
    basis[:, 0] = 1
    return basis @ coefficient @ basis.T
