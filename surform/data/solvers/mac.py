"""Staggered (marker-and-cell) fields in a closed cubic box: values on cell centres and faces.

A scalar has shape (B, n, n, n). A velocity is a list of three tensors; component a lives on the
faces across axis a, has n + 1 values along it, and is zero on the first and the last: the walls.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["PressureSolver", "advect", "advect_velocity", "diffuse", "divergence", "to_faces"]

Velocity = list[Tensor]


def divergence(velocity: Velocity, h: float) -> Float[Tensor, "b n n n"]:
    """Return the net volume flux out of each cell, per volume."""
    return sum((v.diff(dim=a + 1) for a, v in enumerate(velocity)), start=torch.tensor(0.0)) / h


def to_faces(scalar: Float[Tensor, "b n n n"], axis: int) -> Tensor:
    """Return the means of a scalar on the faces across `axis`, zero on the walls."""
    return _with_walls(_mean(scalar, axis), axis)


def advect(scalar: Float[Tensor, "b n n n"], velocity: Velocity, courant: float) -> Tensor:
    """Move a scalar for one time step along the velocity (semi-Lagrangian, linear interpolation).

    Args:
        scalar: values on cell centres; beyond the walls they continue unchanged.
        velocity: values on faces.
        courant: time step over cell size.
    """
    points = _indices(scalar.shape[1:], scalar)
    back = [
        i - courant * _mean(v, a) for a, (i, v) in enumerate(zip(points, velocity, strict=True))
    ]
    return _sample(scalar, back, "border")


def advect_velocity(velocity: Velocity, courant: float) -> Velocity:
    """Move a velocity for one time step along itself; beyond the walls it is zero."""
    moved = []
    for axis, component in enumerate(velocity):
        inner = component.narrow(axis + 1, 1, component.shape[axis + 1] - 2)
        points = _indices(inner.shape[1:], component)
        points[axis] = points[axis] + 1
        back = [
            i - courant * (inner if a == axis else _mean(_mean(v, a), axis))
            for a, (i, v) in enumerate(zip(points, velocity, strict=True))
        ]
        moved.append(_with_walls(_sample(component, back, "zeros"), axis))
    return moved


def diffuse(velocity: Velocity, amount: float) -> Velocity:
    """Diffuse a velocity, zero beyond the walls, with explicit steps.

    Args:
        velocity: values on faces.
        amount: viscosity x time step / cell size^2; split so that no explicit step exceeds 1/6.
    """
    steps = max(1, math.ceil(6 * amount - 1e-9))
    for _ in range(steps):
        velocity = [_diffuse_component(v, a, amount / steps) for a, v in enumerate(velocity)]
    return velocity


class PressureSolver:
    """Makes a velocity free of divergence, by an exact Poisson solve with cosine transforms.

    Args:
        cells: cells per side, n.
        h: cell size.
        dtype: float32 or float64.
        device: where to compute.
    """

    def __init__(
        self, cells: int, h: float, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.h = h
        k = torch.arange(cells, dtype=torch.float64)
        basis = math.sqrt(2 / cells) * torch.cos(math.pi / cells * k[:, None] * (k + 0.5))
        basis[0] = math.sqrt(1 / cells)
        self.basis = basis.to(device, dtype)  # DCT-II, orthonormal
        eigenvalue = -((2 / h * torch.sin(math.pi * k / (2 * cells))) ** 2)
        total = eigenvalue[:, None, None] + eigenvalue[:, None] + eigenvalue
        total[0, 0, 0] = math.inf  # the mean pressure is arbitrary: zero
        self.inverse = (1 / total).to(device, dtype)

    def pressure(self, source: Float[Tensor, "b n n n"]) -> Float[Tensor, "b n n n"]:
        """Solve Lap p = source with zero normal derivative on the walls."""
        c = self.basis
        return _transform(_transform(source, c) * self.inverse, c.T)

    def project(self, velocity: Velocity) -> Velocity:
        """Subtract the pressure gradient that removes the divergence."""
        p = self.pressure(divergence(velocity, self.h))
        return [v - _with_walls(p.diff(dim=a + 1) / self.h, a) for a, v in enumerate(velocity)]


def _transform(x: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix along each of the three axes."""
    for _ in range(3):
        x = (x @ matrix.T).movedim(-1, 1)
    return x


def _mean(x: Tensor, axis: int) -> Tensor:
    """Return the means of neighbours along an axis of the grid."""
    n = x.shape[axis + 1] - 1
    return 0.5 * (x.narrow(axis + 1, 0, n) + x.narrow(axis + 1, 1, n))


def _with_walls(inner: Tensor, axis: int) -> Tensor:
    padding = [0] * 6
    padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = 1
    return torch.nn.functional.pad(inner, padding)


def _diffuse_component(v: Tensor, axis: int, amount: float) -> Tensor:
    padded = torch.nn.functional.pad(v, [1] * 6)
    change = -6 * v
    for a in range(3):
        for offset in (0, 2):
            window = [slice(1, -1)] * 3
            window[a] = slice(offset, offset + v.shape[a + 1])
            change += padded[(slice(None), *window)]
    inner = (v + amount * change).narrow(axis + 1, 1, v.shape[axis + 1] - 2)
    return _with_walls(inner, axis)


def _indices(shape: torch.Size, like: Tensor) -> list[Tensor]:
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return list(torch.meshgrid(*axes, indexing="ij"))


def _sample(field: Tensor, points: list[Tensor], beyond: str) -> Tensor:
    """Interpolate linearly at fractional indices (B, ...) per axis."""
    sizes = field.shape[1:]
    scaled = [2 * p / (n - 1) - 1 for p, n in zip(points, sizes, strict=True)]
    # grid_sample counts the axes from the last
    grid = torch.stack(scaled[::-1], dim=-1)
    sampled = torch.nn.functional.grid_sample(
        field[:, None], grid, mode="bilinear", padding_mode=beyond, align_corners=True
    )
    return sampled[:, 0]
