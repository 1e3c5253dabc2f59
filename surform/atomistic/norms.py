"""Equivariant layer norms: statistics of one node over its channels and orders.

Liao et al., "EquiformerV2", 2023 (arXiv 2306.12059), section 4.3. Under autocast they stay in
float32: their sums of squares do not fit into 16 bits.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.atomistic.constants import Constants
from surform.atomistic.layout import Layout

__all__ = ["EquivariantNorm", "NormKind"]

NormKind = Literal["layer_norm", "layer_norm_sh", "rms_norm_sh"]
_EPS = 1e-5


class EquivariantNorm(nn.Module):
    """(N, (lmax + 1)^2, C) -> the same; degree 0 is centred first.

    Args:
        kind: "layer_norm": every degree has a size of its own; "layer_norm_sh": degree 0 has, all
            others share one; "rms_norm_sh": all degrees share one, in which they count alike.
    """

    def __init__(self, layout: Layout, channels: int, kind: NormKind) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels
        rows = torch.tensor(layout.degrees)
        first = 1 if kind == "layer_norm_sh" else 0
        self.weight = nn.Parameter(torch.ones(layout.lmax + 1 - first, channels))
        self.scalar = nn.LayerNorm(channels, eps=_EPS) if kind == "layer_norm_sh" else None
        self.bias = None if kind == "layer_norm_sh" else nn.Parameter(torch.zeros(channels))
        self.constants = Constants(degree=rows[first:] - first, shares=_shares(layout, kind))

    def forward(self, x: Float[Tensor, "n s c"]) -> Float[Tensor, "n s c"]:
        with torch.autocast(x.device.type, enabled=False):
            return self._normalized(x if x.dtype.itemsize >= 4 else x.float())

    def _normalized(self, x: Tensor) -> Tensor:
        degree = self.constants["degree"]
        if self.scalar is not None:
            rest = x[:, 1:]
            size = (rest.square().mean(2) @ self.constants["shares"] + _EPS).rsqrt()
            return torch.cat(
                (self.scalar(x[:, :1]), rest * size[:, :, None] * self.weight[degree]), 1
            )
        centred = x[:, :1] - x[:, :1].mean(2, keepdim=True)
        x = torch.cat((centred, x[:, 1:]), dim=1)
        size = (x.square().mean(2) @ self.constants["shares"] + _EPS).rsqrt()
        if self.kind == "layer_norm":
            size = size[:, degree]
        x = x * size[:, :, None] * self.weight[degree]
        assert self.bias is not None
        return torch.cat((x[:, :1] + self.bias, x[:, 1:]), dim=1)

    def extra_repr(self) -> str:
        return f"{self.channels}, kind={self.kind}"


def _shares(layout: Layout, kind: NormKind) -> Tensor:
    """What the mean square of each row adds to the square of each size, (rows, sizes)."""
    degree = torch.tensor(layout.degrees)
    share = 1.0 / (2 * degree.double() + 1)
    if kind == "layer_norm":
        return torch.nn.functional.one_hot(degree).double() * share[:, None]
    if kind == "layer_norm_sh":
        return (share / layout.lmax)[1:, None]
    return (share / (layout.lmax + 1))[:, None]
