"""The nearest neighbours of each atom."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest"]

_TOLERANCE = 0.01  # [Å^2], of fairchem-core


def nearest(target: Tensor, squared: Tensor, atoms: int, most: int, tolerant: bool) -> Tensor:
    """Numbers of the edges that stay when each target keeps its `most` nearest ones.

    Args:
        squared: squared distances [Å^2]; of equal ones the first stay.
        tolerant: keep all that are not farther than the first one cut off, to 0.01 Å^2.
    """
    if most < 1:
        raise ValueError(f"max_neighbors is {most}, but must be at least 1")
    order = squared.argsort(stable=True)
    order = order[target[order].argsort(stable=True)]
    counts = torch.bincount(target, minlength=atoms)
    starts = counts.cumsum(0) - counts
    ranked = target[order]
    rank = torch.arange(len(order), device=order.device) - starts[ranked]
    keep = rank < most
    if tolerant:
        longest = squared.new_full((atoms,), torch.inf)
        crowded = counts > most
        longest[crowded] = squared[order[starts[crowded] + most]] + _TOLERANCE
        keep = squared[order] <= longest[ranked]
    return order[keep].sort().values
