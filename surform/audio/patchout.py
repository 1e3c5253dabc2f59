"""Which patches a training step keeps (Patchout), and where its time window begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Kept", "draw"]


@dataclass(frozen=True)
class Kept:
    """What is kept of a grid of patches, the same for every sample of a batch.

    Args:
        start: first entry of the time table that is used.
        rows, columns: sorted numbers of the rows of frequency and columns of time; None: all.
        tokens: sorted numbers among what these leave, row by row; None: all.
    """

    start: int = 0
    rows: Tensor | None = None
    columns: Tensor | None = None
    tokens: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether all patches are kept."""
        return self.rows is None and self.columns is None and self.tokens is None

    def places(self, grid: tuple[int, int]) -> Tensor:
        """Numbers of the kept patches in the whole grid, row by row."""
        rows = torch.arange(grid[0]) if self.rows is None else self.rows
        columns = torch.arange(grid[1]) if self.columns is None else self.columns
        found = (rows[:, None] * grid[1] + columns).flatten()
        return found if self.tokens is None else found[self.tokens]


def draw(
    grid: tuple[int, int], starts: int, rows: int = 0, columns: int = 0, tokens: int = 0
) -> Kept:
    """Numbers from torch's generator on the CPU.

    Args:
        starts: how many beginnings the time window may have.
        rows, columns: how many are left out of the grid.
        tokens: how many are left out of what remains.
    """
    remain = (grid[0] - rows) * (grid[1] - columns)
    return Kept(
        int(torch.randint(starts, ())) if starts > 1 else 0,
        columns=_some(grid[1], columns),
        rows=_some(grid[0], rows),
        tokens=_some(remain, tokens),
    )


def _some(count: int, left_out: int) -> Tensor | None:
    return torch.randperm(count)[: count - left_out].sort().values if left_out else None
