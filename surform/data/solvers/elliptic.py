"""Finite-volume solution of -div(a grad u) = f on the unit square with u = 0 on its boundary."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["apply_elliptic", "central_differences", "solve_elliptic"]


def apply_elliptic(a: Float[Tensor, "b n n"], u: Float[Tensor, "b n n"]) -> Float[Tensor, "b m m"]:
    """Apply -div(a grad .) with the five-point stencil, at the inner nodes (m = n - 2).

    The coefficient of a cell face is the arithmetic mean of its two nodes.
    """
    h = 1 / (a.shape[-1] - 1)
    across = (a[:, 1:, 1:-1] + a[:, :-1, 1:-1]) * (u[:, 1:, 1:-1] - u[:, :-1, 1:-1])
    along = (a[:, 1:-1, 1:] + a[:, 1:-1, :-1]) * (u[:, 1:-1, 1:] - u[:, 1:-1, :-1])
    flux = across[:, 1:] - across[:, :-1] + along[..., 1:] - along[..., :-1]
    return flux * (-0.5 / h**2)


def solve_elliptic(
    a: Float[Tensor, "b n n"],
    f: Float[Tensor, "b m m"],
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
) -> Float[Tensor, "b n n"]:
    """Solve -div(a grad u) = f at the inner nodes, u = 0 on the boundary.

    Conjugate gradients, preconditioned by a Poisson solve with sine transforms: the number of
    iterations depends on the contrast of a, not on n. Samples stop one by one, so that the result
    of one does not depend on the others.

    Raises:
        ValueError: a sample did not reach `tolerance` (relative residual), or is not finite.
    """
    # NaN compares as converged, and so does everything once the norm has overflowed.
    if not bool(_norm(f).isfinite().all() and a.isfinite().all()):
        raise ValueError("the source and the coefficient must be finite, and the source's square")
    poisson = _Poisson(a.shape[-1] - 2, a)
    u = torch.zeros_like(a)
    inner = u[:, 1:-1, 1:-1]
    residual = f.clone()
    limit = tolerance * _norm(f)
    z = poisson.solve(residual)
    direction = torch.zeros_like(a)
    direction[:, 1:-1, 1:-1] = z
    rz = _dot(residual, z)
    for _ in range(max_iterations):
        running = _norm(residual) > limit
        if not bool(running.any()):
            return u
        p = direction[:, 1:-1, 1:-1]
        product = apply_elliptic(a, direction)
        alpha = torch.where(running, rz / _dot(p, product), 0.0)
        inner += alpha * p
        residual -= alpha * product
        z = poisson.solve(residual)
        new = _dot(residual, z)
        beta = torch.where(running, new / rz, 0.0)
        rz = torch.where(running, new, rz)
        p.mul_(beta).add_(z)
    raise ValueError(
        f"no convergence in {max_iterations} iterations: the coefficient varies by a factor of "
        f"{float(a.max() / a.min()):.3g}"
    )


def central_differences(
    u: Float[Tensor, "b n n"], h: float
) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b n n"]]:
    """Return (u_x, u_y) by central differences of step 2 h, with zeros beyond the boundary."""
    padded = torch.nn.functional.pad(u, (1, 1, 1, 1))
    du_dx = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / (2 * h)
    du_dy = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / (2 * h)
    return du_dx, du_dy


class _Poisson:
    """Exact solver of the five-point Poisson problem on m x m inner nodes, by DST-I."""

    def __init__(self, m: int, like: Tensor) -> None:
        index = torch.arange(1, m + 1, dtype=torch.float64, device=like.device)
        angle = math.pi / (m + 1) * index
        # A dense transform: at these sizes matrix products beat FFTs of odd extensions.
        self.sine = (math.sqrt(2 / (m + 1)) * torch.sin(angle[:, None] * index)).to(like)
        eigenvalue = (2 * (m + 1) * torch.sin(angle / 2)) ** 2
        self.inverse = (1 / (eigenvalue[:, None] + eigenvalue)).to(like)

    def solve(self, f: Tensor) -> Tensor:
        s = self.sine
        return s @ ((s @ f @ s) * self.inverse) @ s


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()
