"""What each node starts with beside its element: its neighbourhood, without any message."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surform.atomistic.constants import Constants
from surform.atomistic.edges import Edges
from surform.atomistic.layout import Layout
from surform.atomistic.radial import RadialNet

__all__ = ["EdgeDegree"]


class EdgeDegree(nn.Module):
    """Edges -> (N, (lmax + 1)^2, C): functions of distance along each edge, turned and added up."""

    def __init__(self, layout: Layout, channels: int, radial: RadialNet, degree: float) -> None:
        super().__init__()
        self.rows, self.channels = layout.lmax + 1, channels
        self.radial = radial
        rescale = torch.tensor(layout.rescale, dtype=torch.float64)[:, None]
        self.constants = Constants(rescale=rescale / degree)

    def forward(self, edges: Edges) -> Tensor:
        return edges.in_pieces(self._received) * self.constants["rescale"]

    def _received(self, edges: Edges) -> Tensor:
        x = self.radial(edges).view(edges.source.shape[0], self.rows, self.channels)
        if edges.envelope is not None:
            x = x * edges.envelope[:, None, None]
        turned = edges.frames[:, : self.rows].transpose(1, 2).to(x.dtype) @ x
        out = turned.new_zeros(edges.nodes, *turned.shape[1:])
        return torch.index_add(out, 0, edges.receivers, turned)
