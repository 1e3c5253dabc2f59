"""From coefficients of spherical harmonics to values on a grid of the sphere, and back.

Latitudes and longitudes as in e3nn's grids, which EquiformerV2 was trained on (Liao et al., 2023,
arXiv 2306.12059, section 4.2): products of values on a grid alias, so that a network's numbers
belong to its grid. The grid of an edge knows orders up to mmax only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surform.atomistic.constants import Constants, made_once
from surform.atomistic.harmonics import directions, harmonics, latitudes
from surform.atomistic.layout import Layout

__all__ = ["SphereGrid"]


class SphereGrid(Constants):
    """Constants of a grid: `forth` (points, rows) and `back` (rows, points).

    Args:
        resolution: latitudes and longitudes; None: the fewest that the official code takes.
        edges: rows in the frame of an edge; False: rows of full features.
    """

    forth: Tensor
    back: Tensor

    def __init__(self, layout: Layout, resolution: int | None, *, edges: bool) -> None:
        forth, back = _matrices(layout.lmax, layout.mmax if edges else layout.lmax, resolution)
        rows = list(layout.edge_rows) if edges else list(range(layout.size))
        super().__init__(forth=forth[:, rows].contiguous(), back=back[:, rows].t().contiguous())


@made_once
def _matrices(lmax: int, mmax: int, resolution: int | None) -> tuple[Tensor, Tensor]:
    """(points, (lmax + 1)^2) each, float64."""
    lat = resolution or 2 * (lmax + 1)
    long = resolution or (2 * mmax + 3 if lmax == mmax else 2 * mmax + 1)
    cosines, weights = latitudes(lat)
    values = harmonics(lmax, directions(cosines, long)).flatten(0, 1)
    weights = (weights * (2 * math.pi / long)).repeat_interleave(long)[:, None]
    degree = torch.tensor(Layout(lmax, mmax).degrees, dtype=torch.float64)
    # every degree has the same variance on the grid when its coefficients have unit variance
    scale = math.sqrt(4 * math.pi / (lmax + 1)) / (2 * degree + 1).sqrt()
    larger = torch.tensor(Layout(lmax, mmax).rescale, dtype=torch.float64)
    return values * scale * larger, values / scale * larger * weights
