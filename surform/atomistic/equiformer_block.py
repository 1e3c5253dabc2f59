"""One block of EquiformerV2, and the sizes that its parts are made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.atomistic.edges import Edges
from surform.atomistic.feed_forward import EquivariantFeedForward
from surform.atomistic.graph_attention import GraphAttention
from surform.atomistic.layout import Layout
from surform.atomistic.norms import EquivariantNorm, NormKind
from surform.atomistic.radial import RadialNet
from surform.atomistic.sphere_grid import SphereGrid

__all__ = ["Block", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """What all blocks and heads of a network have in common; see `EquiformerV2`."""

    layout: Layout
    edge_grid: SphereGrid
    node_grid: SphereGrid
    channels: int
    heads: int
    hidden: int
    alphas: int
    values: int
    feed_forward: int
    edge_channels: int
    norm: NormKind
    activation: str
    feed_forward_activation: str
    grid_mlp: bool
    share_radial: bool
    renorm: bool
    basis: int
    elements: int
    shared: bool
    attention_dropout: float
    recompute: bool

    def radial(self, out_channels: int) -> RadialNet:
        """A net that reads distances and elements."""
        return RadialNet(self.basis, self.edge_channels, out_channels, self.elements, self.shared)

    def attention(self, out_channels: int, *, vector: bool = False) -> GraphAttention:
        """Graph attention with factors of its own."""
        made = GraphAttention(
            self.layout,
            self.edge_grid,
            self.channels,
            out_channels,
            heads=self.heads,
            hidden=self.hidden,
            alphas=self.alphas,
            values=self.values,
            activation=self.activation,
            share_radial=self.share_radial,
            renorm=self.renorm,
            attention_dropout=self.attention_dropout,
            vector=vector,
        )
        return made.with_radial(self.radial(made.radial_width))

    def feed_forward_map(self, out_channels: int) -> EquivariantFeedForward:
        """A feed-forward map."""
        return EquivariantFeedForward(
            self.layout,
            self.node_grid,
            self.channels,
            self.feed_forward,
            out_channels,
            activation=self.feed_forward_activation,
            grid_mlp=self.grid_mlp,
            recompute=self.recompute,
        )


class Block(nn.Module):
    """Attention, then a feed-forward map, both residual and after a norm."""

    def __init__(self, sizes: Sizes, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = EquivariantNorm(sizes.layout, sizes.channels, sizes.norm)
        self.attention = sizes.attention(sizes.channels)
        self.norm2 = EquivariantNorm(sizes.layout, sizes.channels, sizes.norm)
        self.feed_forward = sizes.feed_forward_map(sizes.channels)
        self.drop_path, self.dropout = drop_path, dropout

    def forward(self, x: Tensor, edges: Edges, batch: Tensor, structures: int) -> Tensor:
        """(N, (lmax + 1)^2, C) -> the same; batch: the structure of each node."""
        out = self.attention(self.norm1(x), edges)
        x = x + self._dropped(out, batch, structures)
        return x + self._dropped(self.feed_forward(self.norm2(x)), batch, structures)

    def _dropped(self, out: Tensor, batch: Tensor, structures: int) -> Tensor:
        """Channels of nodes, all orders together, then the branch of whole structures."""
        if not self.training:
            return out
        if self.dropout:
            out = out * F.dropout(out.new_ones(out.shape[0], 1, out.shape[2]), self.dropout)
        if self.drop_path:
            kept = out.new_empty(structures, 1, 1).bernoulli_(1 - self.drop_path)
            out = out * torch.index_select(kept / (1 - self.drop_path), 0, batch)
        return out
