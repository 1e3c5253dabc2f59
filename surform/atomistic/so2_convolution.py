"""Convolution in the frame of an edge: a linear map that commutes with turns about the edge.

Passaro and Zitnick, "Reducing SO(3) convolutions to SO(2)", 2023 (arXiv 2302.03655), section 4.
Rows are in the order of `Layout.edge_rows`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.atomistic.layout import Layout

__all__ = ["SO2Convolution"]


class SO2Convolution(nn.Module):
    """(E, rows, in) -> (E, rows, out), and `extra` invariant channels of every edge.

    Order m pairs with -m like real and imaginary part: (A + iB)(p + iq).
    """

    def __init__(self, layout: Layout, in_channels: int, out_channels: int, extra: int = 0) -> None:
        super().__init__()
        self.layout, self.extra = layout, extra
        self.in_channels, self.out_channels = in_channels, out_channels
        count = layout.count(0)
        self.zero = nn.Linear(count * in_channels, extra + count * out_channels)
        self.orders = nn.ModuleList()
        for m in range(1, layout.mmax + 1):
            count = layout.count(m)
            linear = nn.Linear(count * in_channels, 2 * count * out_channels, bias=False)
            with torch.no_grad():
                linear.weight.mul_(1 / math.sqrt(2.0))
            self.orders.append(linear)

    @property
    def radial_width(self) -> int:
        """Factors of an edge: one per channel of each degree and |m|."""
        return self.in_channels * sum(map(self.layout.count, range(self.layout.mmax + 1)))

    def forward(
        self,
        x: Float[Tensor, "e r i"],
        factors: Float[Tensor, "e f"] | None = None,
        *,
        most: int | None = None,
    ) -> tuple[Float[Tensor, "e q o"], Float[Tensor, "e a"]]:
        """New rows, and the extra channels.

        Args:
            factors: of the input; None = 1. most: the largest order that is asked for; None: mmax.
        """
        x, scales = x.flatten(1), self._split(factors)
        most = self.layout.mmax if most is None else most
        width = self.layout.count(0) * self.in_channels
        zero = self.zero(_scaled(x[:, :width], scales[0]))
        rows, start = [zero[:, self.extra :]], width
        for m in range(1, most + 1):
            width = self.layout.count(m) * self.in_channels
            rows += _paired(x[:, start : start + 2 * width], scales[m], self._order(m))
            start += 2 * width
        out = torch.cat(rows, dim=1)
        count = out.shape[1] // self.out_channels
        return out.view(x.shape[0], count, self.out_channels), zero[:, : self.extra]

    def vector(self, x: Float[Tensor, "e r i"]) -> Float[Tensor, "e q o"]:
        """The rows of degree 1 alone, as in `Layout.vector_rows`; `x` may end after order 1."""
        flat, out = x.flatten(1), self.out_channels
        width = self.layout.count(0) * self.in_channels
        start = self.extra + out
        own = slice(start, start + out)
        rows = [nn.functional.linear(flat[:, :width], self.zero.weight[own], self.zero.bias[own])]
        if self.layout.mmax:
            count = self.layout.count(1)
            weight = self._order(1).view(2, count, out, -1)[:, 0].flatten(0, 1)
            pair = flat[:, width : width + 2 * count * self.in_channels]
            rows += _paired(pair, None, weight)
        return torch.stack(rows, dim=1)

    def _order(self, m: int) -> Tensor:
        return cast(nn.Linear, self.orders[m - 1]).weight

    def _split(self, factors: Tensor | None) -> list[Tensor | None]:
        orders = range(self.layout.mmax + 1)
        if factors is None:
            return [None for _ in orders]
        return list(factors.split([self.layout.count(m) * self.in_channels for m in orders], 1))

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}, extra={self.extra}"


def _scaled(x: Tensor, factors: Tensor | None) -> Tensor:
    return x if factors is None else x * factors


def _paired(pair: Tensor, factors: Tensor | None, weight: Tensor) -> list[Tensor]:
    """Real and imaginary part of (A + iB)(p + iq), where A and B lie one above the other."""
    n, half = pair.shape[0], pair.shape[1] // 2
    pair = pair.view(n, 2, half)
    if factors is not None:
        pair = pair * factors[:, None]
    both = pair.reshape(2 * n, half) @ weight.t()
    (ap, bp), (aq, bq) = (x.chunk(2, dim=1) for x in both.view(n, 2, weight.shape[0]).unbind(1))
    return [ap - bq, bp + aq]
