"""What the distance and the two elements of an edge say: factors of its message."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.atomistic.edges import Edges

__all__ = ["ElementPair", "RadialNet"]


class ElementPair(nn.Module):
    """Tables of the elements that an edge starts and ends at."""

    def __init__(self, elements: int, channels: int) -> None:
        super().__init__()
        self.source = nn.Embedding(elements, channels)
        self.target = nn.Embedding(elements, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)

    def tables(self) -> tuple[Tensor, Tensor]:
        """(elements, channels) each."""
        return self.source.weight, self.target.weight


class RadialNet(nn.Module):
    """Edges -> (E, out): three linear maps, norms and SiLU between, of distance and elements.

    Args:
        basis: functions of the distance. elements: rows of its own tables; 0: it has none.
        shared: uses the tables that come with the edges.
    """

    def __init__(
        self, basis: int, channels: int, out_channels: int, elements: int, shared: bool = False
    ) -> None:
        super().__init__()
        self.basis, self.shared = basis, shared
        self.elements = ElementPair(elements, channels) if elements else None
        width = basis + (2 * channels if elements or shared else 0)
        self.first = nn.Linear(width, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.second = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.third = nn.Linear(channels, out_channels)
        for linear in (self.first, self.second, self.third):
            bound = 1 / math.sqrt(linear.in_features)
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)

    def forward(self, edges: Edges) -> Tensor:
        x = F.linear(edges.basis, self.first.weight[:, : self.basis], self.first.bias)
        tables = edges.atoms if self.shared else self.elements and self.elements.tables()
        if tables is not None:
            # each element's share of the first map, instead of each edge's
            weights = self.first.weight[:, self.basis :].chunk(2, dim=1)
            ends = (edges.source, edges.target)
            for table, weight, nodes in zip(tables, weights, ends, strict=True):
                x = x + F.linear(table, weight)[edges.elements[nodes]]
        return self._rest(x)

    def of(self, scalars: Tensor) -> Tensor:
        """The factors of edges whose functions of distance, (E, basis), are all that is known."""
        return self._rest(self.first(scalars))

    def _rest(self, x: Tensor) -> Tensor:
        x = F.silu(self._normalized(self.norm1, x))
        x = F.silu(self._normalized(self.norm2, self.second(x)))
        return self.third(x)

    @staticmethod
    def _normalized(norm: nn.LayerNorm, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return norm(x.to(norm.weight.dtype))
