"""Real spherical harmonics whose polar axis is y, and the points and weights of grids on spheres.

Degree 1 is (x, y, z) up to a factor; order m > 0 goes with cos(m a), m < 0 with sin(|m| a), where
the azimuth a turns from z to x; no sign (-1)^m. Everything here is made once, in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["directions", "gauss_legendre", "harmonics", "latitudes"]


def harmonics(lmax: int, points: Tensor) -> Tensor:
    """Orthonormal harmonics of unit vectors (..., 3) in float64, (..., (lmax + 1)^2)."""
    x, y, z = points.double().unbind(-1)
    legendre = _legendre(lmax, y)
    # (z + i x)^m = sin(b)^m exp(i m a): what the associated functions above lack
    waves = [torch.complex(torch.ones_like(z), torch.zeros_like(z))]
    for _ in range(lmax):
        waves.append(waves[-1] * torch.complex(z, x))
    found = []
    for l in range(lmax + 1):
        for m in range(-l, l + 1):
            wave = waves[m].real if m >= 0 else waves[-m].imag
            found.append(_norm(l, abs(m)) * legendre[l, abs(m)] * wave)
    return torch.stack(found, dim=-1)


def _norm(l: int, m: int) -> float:
    share = (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m)
    return math.sqrt(2 * share if m else share)


def _legendre(lmax: int, y: Tensor) -> dict[tuple[int, int], Tensor]:
    """Associated Legendre functions without (-1)^m, over sin(b)^m: polynomials in y = cos(b)."""
    found: dict[tuple[int, int], Tensor] = {}
    for m in range(lmax + 1):
        found[m, m] = torch.full_like(y, float(math.prod(range(1, 2 * m, 2))))
        for l in range(m + 1, lmax + 1):
            last = (2 * l - 1) * y * found[l - 1, m]
            if l >= m + 2:
                last = last - (l + m - 1) * found[l - 2, m]
            found[l, m] = last / (l - m)
    return found


def directions(cosines: Tensor, long: int) -> Tensor:
    """Unit vectors at the given cosines of the polar angle and `long` azimuths, (lat, long, 3)."""
    a = torch.arange(long, dtype=torch.float64) * (2 * math.pi / long)
    sines = (1 - cosines.square()).sqrt()[:, None]
    y = cosines[:, None].expand(-1, long)
    return torch.stack([sines * a.sin(), y, sines * a.cos()], dim=-1)


def latitudes(count: int) -> tuple[Tensor, Tensor]:
    """Cosines of `count` evenly spaced polar angles pi (j + 1/2) / count, and their weights.

    Driscoll and Healy, 1994 (doi 10.1006/aama.1994.1008), with an even count; weights add up to 2.
    """
    half = count // 2
    b = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
    odd = 2 * torch.arange(half, dtype=torch.float64) + 1
    weights = 2.0 / half * b.sin() * (torch.sin(b[:, None] * odd) / odd).sum(1)
    return b.cos(), weights


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes of Gauss and Legendre in [-1, 1] and their weights, from the Jacobi matrix."""
    k = torch.arange(1, count, dtype=torch.float64)
    beside = k / (4 * k * k - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return nodes, 2 * vectors[0].square()
