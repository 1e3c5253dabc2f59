"""Finite differences on regular grids, for losses and metrics that look at gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["central_differences", "gradient", "inner", "spacings"]


def spacings(coordinates: Sequence[Tensor]) -> list[float]:
    """Distance between neighbouring points, one per axis, in the coordinates' units.

    Raises:
        ValueError: fewer than three points along an axis, or unevenly spaced ones.
    """
    short = [len(points) for points in coordinates if len(points) < 3]
    if short:
        raise ValueError(f"a gradient needs at least 3 points per axis, got {short[0]}")
    found = []
    for number, points in enumerate(coordinates):
        points = points.detach().double().cpu()
        steps = points.diff()
        step = float(points[-1] - points[0]) / (len(points) - 1)
        # positions are often stored in float32, which tells neighbours apart only so well
        slack = 1e-3 * abs(step) + 4 * torch.finfo(torch.float32).eps * float(points.abs().max())
        if not bool(((steps - step).abs() <= slack).all()):
            raise ValueError(
                f"a gradient needs evenly spaced points: along axis {number} the step goes from "
                f"{float(steps.min()):.4g} to {float(steps.max()):.4g}; "
                "take a loss and metrics without gradients"
            )
        found.append(step)
    return found


def central_differences(field: Tensor, steps: Sequence[float]) -> Tensor:
    """Gradient at the inner points: `(B, *grid)` -> `(B, *(n_i - 2), axes)`."""
    axes = len(steps)
    parts = []
    for axis, step in enumerate(steps):
        others = inner(field, [other for other in range(axes) if other != axis])
        size = field.shape[axis + 1]
        ahead = others.narrow(axis + 1, 2, size - 2)
        behind = others.narrow(axis + 1, 0, size - 2)
        parts.append((ahead - behind) / (2 * step))
    return torch.stack(parts, dim=-1)


def gradient(field: Tensor, steps: Sequence[float]) -> Tensor:
    """Gradient at all points, one-sided at the ends: `(B, *grid)` -> `(B, *grid, axes)`."""
    dims = list(range(1, len(steps) + 1))
    return torch.stack(torch.gradient(field, spacing=list(steps), dim=dims), dim=-1)


def inner(field: Tensor, axes: Sequence[int]) -> Tensor:
    """Cut the first and last point of the given axes of `(B, *grid, ...)`."""
    for axis in axes:
        field = field.narrow(axis + 1, 1, field.shape[axis + 1] - 2)
    return field
