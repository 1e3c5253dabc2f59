"""The term -u u_x on a periodic line, and values of a spectrum on other grids."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["burgers_term", "difference", "values", "wavenumbers"]


def wavenumbers(points: int, length: float, device: torch.device | str) -> Tensor:
    """Return the wavenumbers of `rfft` on `points` points, float64."""
    unit = 2 * math.pi / length
    return unit * torch.fft.rfftfreq(points, 1 / points, dtype=torch.float64, device=device)


def burgers_term(
    points: int, length: float, device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """Return the map from the spectrum of u to that of -(u^2)_x/2, dealiased by the 2/3 rule."""
    k = wavenumbers(points, length, device)
    mask = torch.arange(k.numel(), device=device) <= (points - 1) // 3
    factor = -0.5j * k * mask

    def term(spectrum: Tensor) -> Tensor:
        u = torch.fft.irfft(spectrum * mask, n=points)
        return factor * torch.fft.rfft(u * u)

    return term


def values(spectrum: Tensor, points: int) -> Tensor:
    """Return the trigonometric interpolant of an `rfft` spectrum at `points` points."""
    old = 2 * (spectrum.shape[-1] - 1)
    # On a coarser grid the values are a stride of a finer one: cutting modes would change them.
    fine = points * -(-old // points)
    padded = spectrum.new_zeros(*spectrum.shape[:-1], fine // 2 + 1)
    padded[..., : old // 2] = spectrum[..., : old // 2]
    padded[..., old // 2] = spectrum[..., old // 2] * (1.0 if fine == old else 0.5)
    return torch.fft.irfft(padded, n=fine)[..., :: fine // points] * (fine / old)


def difference(spectrum: Tensor, length: float, cells: int) -> Tensor:
    """Return the spectrum of the central difference over two of `cells` cells of the period."""
    points = 2 * (spectrum.shape[-1] - 1)
    h = length / cells
    return spectrum * (1j * torch.sin(wavenumbers(points, length, spectrum.device) * h) / h)
