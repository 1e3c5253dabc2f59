"""A small operator on points with the interface of GNOT, which heeds masks and weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surform.layers.arguments import record_arguments


class PointToy(nn.Module):
    """A map of each point, the parameters and the means of the input functions.

    With `quadrature` the means of input functions, and that of the points, are weighted.
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 1,
        parameters: int = 0,
        input_channels: tuple[int, ...] = (),
        dim: int = 16,
        quadrature: bool = False,
    ) -> None:
        super().__init__()
        self.quadrature = quadrature
        width = 2 * in_channels + parameters + sum(input_channels)
        self.body = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, out_channels))

    def forward(
        self,
        points: Tensor,
        parameters: Tensor,
        inputs: Sequence[Tensor],
        *,
        mask: Tensor | None = None,
        input_masks: Sequence[Tensor | None] | None = None,
        weights: Tensor | None = None,
        input_weights: Sequence[Tensor | None] | None = None,
        chunk: int | None = None,
    ) -> Tensor:
        none = [None] * len(inputs)
        means = [self._mean(points, mask, weights), parameters]
        means += [
            self._mean(f, keep, measure)
            for f, keep, measure in zip(
                inputs, input_masks or none, input_weights or none, strict=True
            )
        ]
        everywhere = torch.cat(means, dim=-1)[:, None]
        parts = points.split(chunk or points.shape[1], dim=1)
        rows = [torch.cat([x, everywhere.expand(-1, x.shape[1], -1)], -1) for x in parts]
        return torch.cat([self.body(row) for row in rows], dim=1)

    def _mean(self, rows: Tensor, mask: Tensor | None, weights: Tensor | None) -> Tensor:
        weight = rows.new_ones(rows.shape[:2]) if mask is None else mask.to(rows.dtype)
        if self.quadrature and weights is not None:
            weight = weight * weights
        return (rows * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
