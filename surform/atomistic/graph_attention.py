"""Equivariant graph attention: messages made in the frames of edges, weighted, and added up.

Liao et al., "EquiformerV2", 2023 (arXiv 2306.12059), section 4.1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.atomistic.constants import Constants
from surform.atomistic.edges import Edges
from surform.atomistic.layout import Layout
from surform.atomistic.radial import RadialNet
from surform.atomistic.so2_convolution import SO2Convolution
from surform.atomistic.so3_linear import SO3Linear
from surform.atomistic.sphere_activation import gated, on_the_sphere, separable
from surform.atomistic.sphere_grid import SphereGrid

__all__ = ["AttentionScores", "GraphAttention", "smooth_leaky_relu"]


def smooth_leaky_relu(x: Tensor, slope: float = 0.2) -> Tensor:
    """x for large x, slope * x for very negative ones."""
    return x * (slope + (1 - slope) * torch.sigmoid(x))


class AttentionScores(nn.Module):
    """Invariant channels of an edge (E, H, A) -> its score for each head (E, H)."""

    def __init__(self, heads: int, channels: int, renorm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if renorm else None
        self.dot = nn.Parameter(torch.empty(heads, channels))
        nn.init.uniform_(self.dot, -1 / math.sqrt(channels), 1 / math.sqrt(channels))

    def forward(self, x: Float[Tensor, "e h a"]) -> Float[Tensor, "e h"]:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.dot.dtype)
            x = x if self.norm is None else self.norm(x)
            return (smooth_leaky_relu(x) * self.dot).sum(2)


class GraphAttention(nn.Module):
    """(N, (lmax + 1)^2, C) -> (N, (lmax + 1)^2, out), or with `vector` the rows of degree 1 alone.

    Args:
        channels: C. hidden: channels between the two convolutions. alphas, values: channels of each
            head's scores and values.
        activation: "separable_s2", "s2" or "gate", between the convolutions.
        radial: factors of messages; share_radial: the same for all orders, given before messages
            are turned.
        renorm: layer norm of what scores are made of. attention_dropout: of attention weights.
        vector: only degree 1 of the result is asked for, and only what it needs is computed.
    """

    def __init__(
        self,
        layout: Layout,
        grid: SphereGrid,
        channels: int,
        out_channels: int,
        *,
        heads: int,
        hidden: int,
        alphas: int,
        values: int,
        activation: str,
        share_radial: bool,
        renorm: bool,
        attention_dropout: float,
        vector: bool = False,
    ) -> None:
        super().__init__()
        self.layout, self.grid, self.vector = layout, grid, vector
        self.heads, self.alphas, self.values = heads, alphas, values
        self.activation, self.share_radial = activation, share_radial
        self.attention_dropout = attention_dropout
        gates = {"gate": layout.lmax * hidden, "separable_s2": hidden, "s2": 0}[activation]
        self.convolution1 = SO2Convolution(layout, 2 * channels, hidden, heads * alphas + gates)
        self.convolution2 = SO2Convolution(layout, hidden, heads * values)
        self.scores = AttentionScores(heads, alphas, renorm)
        self.proj = SO3Linear(layout.lmax, heads * values, out_channels)
        self.constants = Constants(
            degrees=torch.tensor(layout.degrees),
            edge_degrees=torch.tensor(layout.edge_degrees),
            rescale=torch.tensor(layout.rescale, dtype=torch.float64)[:, None],
        )
        self.radial: nn.Module | None = None

    @property
    def radial_width(self) -> int:
        """Factors that it wants of each edge."""
        if self.share_radial:
            return (self.layout.lmax + 1) * self.convolution1.in_channels
        return self.convolution1.radial_width

    def with_radial(self, radial: RadialNet) -> GraphAttention:
        """Takes its factors from this net; returns itself."""
        self.radial = radial
        return self

    def forward(self, x: Float[Tensor, "n s c"], edges: Edges) -> Tensor:
        received = edges.in_pieces(lambda piece: self._received(x, piece))
        if self.vector:
            return self.proj.vector(received * self.constants["rescale"][1:4])
        return self.proj(received * self.constants["rescale"])

    def _received(self, x: Tensor, edges: Edges) -> Tensor:
        """What the nodes of these edges receive, (nodes, rows, heads * values)."""
        message = torch.cat((x[edges.source], x[edges.target]), dim=2)
        assert self.radial is not None
        factors = self.radial(edges)
        if self.share_radial:
            factors = factors.view(message.shape[0], self.layout.lmax + 1, message.shape[2])
            message, factors = message * factors[:, self.constants["degrees"]], None
        frames = edges.frames.to(message.dtype)
        # of a single degree orders up to 1 are enough, unless orders mix on a grid
        most = 1 if self.vector and self.activation == "gate" else None
        most = None if most is None else min(most, self.layout.mmax)
        rows, extra = self.convolution1(frames @ message, factors, most=most)
        width = self.heads * self.alphas
        rows = self._activated(rows, extra[:, width:])
        if self.vector:
            rows = self.convolution2.vector(rows)
            frames = frames[:, list(self.layout.vector_rows), 1:4]
        else:
            rows = self.convolution2(rows)[0]
        scores = self.scores(extra[:, :width].reshape(extra.shape[0], self.heads, self.alphas))
        out = attention.graph(
            scores.to(rows.dtype),
            rows.view(rows.shape[0], rows.shape[1], self.heads, self.values),
            edges.receivers,
            edges.nodes,
            frames=frames,
            envelope=edges.envelope,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return out.flatten(2)

    def _activated(self, rows: Tensor, gates: Tensor) -> Tensor:
        if self.activation == "gate":
            return gated(rows, gates, self.constants["edge_degrees"][: rows.shape[1]])
        back = self.grid.back
        if self.vector:  # the rows of orders 0 and 1
            layout = self.layout
            back = back[: layout.count(0) + (2 * layout.count(1) if layout.mmax else 0)]
        if self.activation == "separable_s2":
            return separable(rows, gates, self.grid.forth, back)
        return on_the_sphere(rows, self.grid.forth, back)
