"""Polynomials between two walls, and the divergence-free modes in which viscosity is diagonal.

Legendre-Galerkin bases of Shen, SIAM J. Sci. Comput. 15 (1994), on -1 <= y <= 1:

    chi_j = (L_j - L_{j+2}) / sqrt(4 j + 6)                        zero at the walls
    psi_j = d_j ((L_j - L_{j+2}) - r_j (L_{j+2} - L_{j+4}))        zero with its slope at the walls

with r_j = (2 j + 3) / (2 j + 7) and d_j so that the second derivatives are orthonormal. Their
derivatives are Legendre polynomials again, so none is ever found by a difference of large numbers.
The psi stand in the order j = 0, 2, 4, ..., 1, 3, 5, ...: even functions of y never mix with odd.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

__all__ = ["Modes", "clamped_values", "no_slip_values", "poloidal_modes", "toroidal_modes"]


class Modes(NamedTuple):
    """Eigenfunctions over a basis, (..., n, n), a column each, and their rising rates (..., n)."""

    vectors: Tensor
    rates: Tensor


def no_slip_values(y: np.ndarray, degree: int) -> Tensor:
    """chi_j and chi_j' at the points y: (2, len(y), degree - 1), float64."""
    polynomials = legendre.legvander(y, degree)
    j = np.arange(degree - 1)
    values = (polynomials[:, :-2] - polynomials[:, 2:]) / np.sqrt(4 * j + 6)
    slopes = -polynomials[:, 1:-1] * (2 * j + 3) / np.sqrt(4 * j + 6)
    return torch.from_numpy(np.stack([values, slopes]))


def clamped_values(y: np.ndarray, degree: int) -> Tensor:
    """psi_j, psi_j' and psi_j'' at the points y: (3, len(y), degree - 3), float64."""
    polynomials = legendre.legvander(y, degree)
    j = np.arange(degree - 3)
    scale = _clamped_scale(j)
    steps = polynomials[:, :-2] - polynomials[:, 2:]  # L_j - L_{j+2}
    values = scale * (steps[:, :-2] - (2 * j + 3) / (2 * j + 7) * steps[:, 2:])
    slopes = -scale * (2 * j + 3) * steps[:, 1:-1]
    bends = scale * (2 * j + 3) * (2 * j + 5) * polynomials[:, 2:-2]
    return torch.from_numpy(np.stack([values, slopes, bends])[..., np.r_[j[::2], j[1::2]]])


def toroidal_modes(degree: int) -> Modes:
    """Eigenfunctions of -d^2/dy^2 that vanish at the walls, orthonormal, over the basis chi.

    They carry all flow without wall-normal velocity, whatever its wavenumber.
    """
    j = np.arange(degree - 1)
    coefficients = np.zeros((degree + 1, degree - 1))
    coefficients[j, j], coefficients[j + 2, j] = 1, -1
    coefficients /= np.sqrt(4 * j + 6)
    # <chi_i', chi_j'> is the identity: the eigenvalues of the mass matrix are those of the inverse.
    inverse, vectors = torch.linalg.eigh(_gram(coefficients))
    return Modes((vectors * inverse.rsqrt()).flip(-1), (1 / inverse).flip(-1))


def poloidal_modes(degree: int, k: Tensor) -> tuple[Modes, Modes]:
    """The Stokes modes with wall-normal velocity for wavenumbers k > 0.

    A mode is the flow (i kx v'/k^2, v, i kz v'/k^2) with int |u|^2 dy = 1. The modes of one k are
    orthogonal, and so are their gradients, with int |grad u|^2 dy = rate. The two forms are
    int (v'^2 + k^2 v^2) dy / k^2 and int (v''^2 + 2 k^2 v'^2 + k^4 v^2) dy / k^2.

    Args:
        degree: of v.
        k: (m,), float64.

    Returns:
        v over the even and over the odd psi, a leading dim of m each.
    """
    j = np.arange(degree - 3)
    scale = _clamped_scale(j)
    values = np.zeros((degree + 1, degree - 3))
    ratio = (2 * j + 3) / (2 * j + 7)
    values[j, j], values[j + 2, j], values[j + 4, j] = scale, -scale * (1 + ratio), scale * ratio
    slopes = np.zeros_like(values)
    slopes[j + 1, j], slopes[j + 3, j] = -scale * (2 * j + 3), scale * (2 * j + 3)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    return _stokes(values[:, even], slopes[:, even], k), _stokes(values[:, odd], slopes[:, odd], k)


def _stokes(values: np.ndarray, slopes: np.ndarray, k: Tensor) -> Modes:
    mass, stiffness = _gram(values).to(k.device), _gram(slopes).to(k.device)
    square = k.square()[:, None, None]
    energy = stiffness + square * mass
    # <psi_i'', psi_j''> is the identity.
    bending = torch.eye(len(mass), dtype=k.dtype, device=k.device)
    dissipation = bending + 2 * square * stiffness + square**2 * mass
    factor = torch.linalg.cholesky(dissipation)
    half = torch.linalg.solve_triangular(factor, energy, upper=False)
    whole = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    inverse, vectors = torch.linalg.eigh(whole)
    modes = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    modes = modes * (square / inverse[:, None]).sqrt()
    return Modes(modes.flip(-1), (1 / inverse).flip(-1))


def _clamped_scale(j: np.ndarray) -> np.ndarray:
    return 1 / ((2 * j + 3) * np.sqrt(2 * (2 * j + 5)))


def _gram(coefficients: np.ndarray) -> Tensor:
    """Integrals over products of polynomials given by their Legendre coefficients."""
    norms = 2 / (2 * np.arange(len(coefficients)) + 1)
    return torch.from_numpy(coefficients.T @ (norms[:, None] * coefficients))
