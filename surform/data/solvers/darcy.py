"""Steady Darcy flow through a random medium: permeability to pressure."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_divides, check_positive
from surform.data.solvers.elliptic import central_differences, solve_elliptic
from surform.data.solvers.random_fields import neumann_square
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["coefficient_field", "darcy"]

BATCH = 8


def darcy(
    samples: Samples,
    *,
    grid: int = 421,
    stride: int = 5,
    coefficient: Literal["piecewise", "lognormal"] = "piecewise",
    high: float = 12.0,
    low: float = 3.0,
    tau: float = 3.0,
    alpha: float = 2.0,
    source: float = 1.0,
) -> Solution:
    """Pressure u of Darcy flow through a medium a: -div(a grad u) = source, u = 0 on the boundary.

    On the unit square. The medium is a Gaussian field N(0, (-Lap + tau^2)^-alpha) that is either
    cut at zero into `high` and `low`, as in Li et al. (FNO, arXiv 2010.08895), or exponentiated.
    Five-point finite volumes on the nodes, solved to 1e-10 in float64 whatever dtype is stored.
    `du_dx` and `du_dy` are central differences on the solved grid with step 1/grid and zeros
    outside, the targets of the H1 loss of Cao (arXiv 2105.14995).

    Args:
        grid: nodes per side, with the boundary, that the equation is solved on.
        stride: keep every so many-th node; it must divide grid - 1.
        coefficient: "piecewise" (two values) or "lognormal" (smooth).
        high: permeability where the Gaussian field is positive.
        low: permeability elsewhere.
        tau: inverse length scale of the medium.
        alpha: smoothness of the medium.
        source: right-hand side, a constant.
    """
    check_at_least(3, grid=grid)
    check_divides("grid - 1", grid - 1, "stride", stride)
    nodes = torch.linspace(0, 1, grid, dtype=torch.float64, device=samples.device)
    a = coefficient_field(samples, nodes, coefficient, high, low, tau, alpha)
    u = solve_elliptic(a, torch.full_like(a[:, 1:-1, 1:-1], source))
    du_dx, du_dy = central_differences(u, 1 / grid)

    def field(values: Tensor, long_name: str) -> Field:
        return Field(values[:, ::stride, ::stride].to(samples.dtype), ("x", "y"), long_name)

    kept = nodes[::stride]
    return Solution(
        fields={
            "a": field(a, "permeability"),
            "u": field(u, "pressure"),
            "du_dx": field(du_dx, "central difference of u along x"),
            "du_dy": field(du_dy, "central difference of u along y"),
        },
        axes={name: Axis(kept, "position", periodic=False) for name in ("x", "y")},
    )


def coefficient_field(
    samples: Samples,
    nodes: Tensor,
    coefficient: str,
    high: float,
    low: float,
    tau: float,
    alpha: float,
) -> Tensor:
    """Return random permeabilities at nodes x nodes, (B, n, n), float64."""
    check_positive(high=high, low=low, tau=tau, alpha=alpha)
    if coefficient not in ("piecewise", "lognormal"):
        raise ValueError(
            f"coefficient is {coefficient!r}, but it must be 'piecewise' or 'lognormal'"
        )
    noise = samples.normal(len(nodes), len(nodes))
    field = neumann_square(noise, nodes, tau, alpha)
    if coefficient == "lognormal":
        return field.exp()
    return torch.where(field >= 0, high, low).to(field)
