"""Coarse grids that channel flow is stored on."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from surform.data.solvers.channel_modes import ChannelModes, Flow

__all__ = ["CoarseGrid", "wall_points"]


def wall_points(count: int, spacing: str) -> np.ndarray:
    """Points from wall to wall, -1 to 1, both included: "uniform" or "cosine" (dense at walls)."""
    steps = np.arange(count) / (count - 1)
    return 2 * steps - 1 if spacing == "uniform" else -np.cos(math.pi * steps)


class CoarseGrid:
    """Velocities on (nx, ny, nz) points, of which ny lie from wall to wall.

    Waves that the points do not resolve along x and z are cut off. Across, the flow is sampled or
    averaged over the cell of each point, which reaches half-way to its neighbours; the points on
    the walls keep the velocity there, zero.

    Args:
        modes: of the channel.
        points: (nx, ny, nz), nx and nz even and not above those of the modes.
        spacing: "uniform" or "cosine", along y.
        average: whether to average across.
    """

    def __init__(
        self, modes: ChannelModes, points: tuple[int, int, int], spacing: str, average: bool
    ) -> None:
        self.modes, self.points = modes, points
        self.y = wall_points(points[1], spacing)
        if average:
            self.at = modes.sampler(*_cells(self.y, modes.degree))
        else:
            self.at = modes.sampler(self.y)

    def velocity(self, flow: Flow, shift: float = 0.0) -> Tensor:
        """u, v, w as (3, B, nx, ny, nz), of the flow moved by `shift` along x."""
        nx, _, nz = self.points
        half = nx // 2
        full = self.modes.velocity(flow, self.at)
        phase = torch.polar(torch.ones_like(self.modes.kx), -self.modes.kx * shift).to(full.dtype)
        full = full * phase[:, None]
        kept = full.new_zeros(*full.shape[:-2], nx, nz // 2)
        kept[..., :half, :] = full[..., :half, : nz // 2]
        kept[..., half + 1 :, :] = full[..., full.shape[-2] - half + 1 :, : nz // 2]
        fields = torch.fft.irfft2(kept, s=(nx, nz), norm="forward")
        return fields.permute(0, 2, 3, 1, 4)


def _cells(y: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points, and weights (len(y), points), whose sums are exact means over the cells."""
    edges = np.concatenate([y[:1], (y[1:] + y[:-1]) / 2, y[-1:]])
    low, high = edges[:-1].copy(), edges[1:].copy()
    high[0], low[-1] = y[0], y[-1]
    nodes, weights = leggauss(degree // 2 + 1)
    points = (low + high)[:, None] / 2 + (high - low)[:, None] / 2 * nodes
    return points.ravel(), np.kron(np.eye(len(y)), weights / 2)
