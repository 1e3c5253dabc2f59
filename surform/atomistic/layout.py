"""Where the spherical-harmonic coefficient of degree l and order m stands among a node's rows.

Full features have (lmax + 1)^2 rows, coefficient (l, m) in row l^2 + l + m. In the frame of an
edge only orders |m| <= mmax are kept, one order after the other ("m-primary"): m = 0 of all
degrees; then for m = 1 ... mmax first +m of l = m ... lmax, then -m of the same degrees. Rotations
and grids are made in that order, so that nothing is ever permuted.

The layout of eSCN (Passaro and Zitnick, 2023, arXiv 2302.03655).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Degrees up to `lmax`, orders up to `mmax` in the frame of an edge."""

    lmax: int
    mmax: int

    @property
    def size(self) -> int:
        """Rows of full features."""
        return (self.lmax + 1) ** 2

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The degree of each row of full features."""
        return tuple(l for l in range(self.lmax + 1) for _ in range(2 * l + 1))

    @cached_property
    def edge_coefficients(self) -> tuple[tuple[int, int], ...]:
        """(l, m) of each row in the frame of an edge."""
        found = [(l, 0) for l in range(self.lmax + 1)]
        for m in range(1, self.mmax + 1):
            found += [(l, sign * m) for sign in (1, -1) for l in range(m, self.lmax + 1)]
        return tuple(found)

    @cached_property
    def edge_rows(self) -> tuple[int, ...]:
        """The row of full features that each row in the frame of an edge is."""
        return tuple(l * l + l + m for l, m in self.edge_coefficients)

    @cached_property
    def edge_degrees(self) -> tuple[int, ...]:
        """The degree of each row in the frame of an edge."""
        return tuple(l for l, _ in self.edge_coefficients)

    @cached_property
    def vector_rows(self) -> tuple[int, ...]:
        """The rows in the frame of an edge that hold degree 1."""
        return tuple(i for i, l in enumerate(self.edge_degrees) if l == 1)

    def count(self, m: int) -> int:
        """Degrees that have order m."""
        return self.lmax + 1 - m

    @cached_property
    def rescale(self) -> tuple[float, ...]:
        """For each row of full features what makes up for the orders that edges leave out."""
        kept = 2 * self.mmax + 1
        return tuple(math.sqrt((2 * l + 1) / kept) if l > self.mmax else 1.0 for l in self.degrees)
