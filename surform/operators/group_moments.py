"""Mean and variance of groups of channels from those of blocks of rows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["group_moments"]


def group_moments(
    counts: list[int], means: Tensor, squares: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """(..., groups) from counts of rows and means and squares about them, (..., blocks, c)."""
    dtype = means.dtype
    sizes = torch.tensor(counts, dtype=torch.float64)[:, None, None]
    means = means.double().unflatten(-1, (groups, -1))
    squares = squares.double().unflatten(-1, (groups, -1))
    total = sizes.sum() * means.shape[-1]
    mean = (sizes * means).sum((-3, -1)) / total
    spread = sizes * (means - mean[..., None, :, None]).square()
    variance = (squares + spread).sum((-3, -1)) / total
    return mean.to(dtype), variance.to(dtype)
