"""Exponential time differencing, fourth order, for equations with a diagonal linear part."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ETDRK4"]


class ETDRK4:
    """Time steps of v' = L v + N(v), exact in L and fourth order in N.

    Cox and Matthews, J. Comput. Phys. 176 (2002); the coefficients are means over a circle in the
    complex plane, as in Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005), which avoids their
    cancellation for small L dt.

    Args:
        linear: the real eigenvalues L, float64, one per mode.
        nonlinear: N.
        dt: time step.
        points: points on the circle.
    """

    def __init__(
        self,
        linear: Tensor,
        nonlinear: Callable[[Tensor], Tensor],
        dt: float,
        points: int = 32,
    ) -> None:
        self.nonlinear = nonlinear
        angle = 2 * math.pi * (torch.arange(points, dtype=torch.float64) + 0.5) / points
        circle = torch.polar(torch.ones_like(angle), angle).to(linear.device)
        z = linear[..., None] * dt + circle
        e = z.exp()

        def mean(values: Tensor) -> Tensor:
            return dt * values.mean(-1).real

        self.whole = (linear * dt).exp()
        self.half = (linear * dt / 2).exp()
        self.stage = mean(((z / 2).exp() - 1) / z)
        self.first = mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3)
        self.middle = mean(2 * (2 + z + e * (z - 2)) / z**3)
        self.last = mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3)

    def step(self, v: Tensor) -> Tensor:
        """Advance the state by one time step."""
        nv = self.nonlinear(v)
        half = self.half * v
        a = half + self.stage * nv
        na = self.nonlinear(a)
        b = half + self.stage * na
        nb = self.nonlinear(b)
        c = self.half * a + self.stage * (2 * nb - nv)
        nc = self.nonlinear(c)
        return self.whole * v + self.first * nv + self.middle * (na + nb) + self.last * nc
