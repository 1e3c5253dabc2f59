"""Inverse Darcy problem: pressure on a fine grid to permeability on a coarse one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surform.data.solvers.checks import check_at_least, check_divides
from surform.data.solvers.darcy import coefficient_field
from surform.data.solvers.elliptic import solve_elliptic
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["darcy_inverse", "pool"]

BATCH = 8


def darcy_inverse(
    samples: Samples,
    *,
    grid: int = 421,
    stride: int = 3,
    pool_stride: int = 12,
    high: float = 12.0,
    low: float = 3.0,
    tau: float = 3.0,
    alpha: float = 2.0,
    source: float = 1.0,
) -> Solution:
    """Permeability a behind a pressure u: -div(a grad u) = source, u = 0 on the boundary.

    The problem of Cao (arXiv 2105.14995), made as by `darcy` with a piecewise constant medium. The
    target `a` is averaged twice, over `stride` and then over pool_stride/stride nodes. Noise is not
    part of the data: it is added to the normalised input when training (`input_noise`).

    Args:
        grid: nodes per side, with the boundary, that the equation is solved on.
        stride: keep every so many-th node of the pressure; it must divide grid - 1.
        pool_stride: nodes per side that one target value averages; a multiple of stride.
        high: permeability where the Gaussian field is positive.
        low: permeability elsewhere.
        tau: inverse length scale of the medium.
        alpha: smoothness of the medium.
        source: right-hand side, a constant.
    """
    check_at_least(3, grid=grid)
    check_divides("grid - 1", grid - 1, "stride", stride)
    check_divides("pool_stride", pool_stride, "stride", stride)
    nodes = torch.linspace(0, 1, grid, dtype=torch.float64, device=samples.device)
    a = coefficient_field(samples, nodes, "piecewise", high, low, tau, alpha)
    u = solve_elliptic(a, torch.full_like(a[:, 1:-1, 1:-1], source))
    target = pool(pool(a, stride), pool_stride // stride)
    coarse = torch.linspace(0, 1, target.shape[-1], dtype=torch.float64)
    pressure = u[:, ::stride, ::stride]
    return Solution(
        fields={
            "u": Field(pressure.to(samples.dtype), ("x", "y"), "pressure"),
            "a": Field(target.to(samples.dtype), ("x_coarse", "y_coarse"), "permeability"),
        },
        axes={
            **{name: Axis(nodes[::stride], "position", periodic=False) for name in ("x", "y")},
            **{n: Axis(coarse, "position", periodic=False) for n in ("x_coarse", "y_coarse")},
        },
    )


def pool(field: Float[Tensor, "b n n"], size: int) -> Float[Tensor, "b m m"]:
    """Average over size x size blocks, m = ceil(n/size).

    The grid is centred in the blocks (the odd node more lies at the end), and blocks on the rim
    average the nodes that they hold.
    """
    n = field.shape[-1]
    missing = -n % size
    low, high = missing // 2, missing - missing // 2
    padding = (low, high, low, high)
    total = torch.nn.functional.pad(field, padding)
    count = torch.nn.functional.pad(torch.ones_like(field[:1]), padding)
    total, count = (torch.nn.functional.avg_pool2d(x[:, None], size)[:, 0] for x in (total, count))
    return total / count
