"""Stress as an output of its own, where forces are: trace and degree 2 of pairs of neighbours.

The head of rank 2 of fairchem-core 1.10, with which the OMat24 networks were trained
(Barroso-Luque et al., 2024, arXiv 2410.12771).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.atomistic.constants import Constants
from surform.atomistic.edges import Edges
from surform.atomistic.layout import Layout
from surform.atomistic.norms import EquivariantNorm, NormKind
from surform.atomistic.symmetric_tensors import symmetric_tensors
from surform.attention import edge_weights

__all__ = ["StressHead"]


class StressHead(nn.Module):
    """(N, (lmax + 1)^2, C) -> (B, 3, 3), symmetric, in normalised units.

    Features of the atoms at an edge's ends are projected onto the harmonics of its vector, means
    over an atom's edges are mapped to one number, and with harmonics of degree 2 to five, and
    means over atoms are taken. The official maps of the five have a SiLU and biases in between:
    where atoms turn, that part of the stress follows only as far as it was trained to.

    Args:
        both: features of both ends; else of the atom that receives.
    """

    def __init__(self, layout: Layout, channels: int, norm: NormKind, both: bool = True) -> None:
        super().__init__()
        self.layout, self.both = layout, both
        width = 2 * channels if both else channels
        self.projection = EquivariantNorm(layout, 1, norm)
        self.norm = nn.LayerNorm(width)
        self.isotropic, self.anisotropic = _map(width), _map(width)
        degree = torch.tensor(layout.degrees)
        scale = ((2 * degree.double() + 1) / (4 * math.pi)).sqrt()
        self.constants = Constants(degree=degree, scale=scale)

    def forward(
        self, x: Float[Tensor, "n s c"], edges: Edges, batch: Tensor, structures: int
    ) -> Float[Tensor, "b 3 3"]:
        received = edges.in_pieces(lambda piece: self._received(x, piece))
        trace = self.isotropic(received[:, 0])
        rest = self.anisotropic(received[:, 1:])
        atoms = torch.cat((trace[:, None], rest), dim=1)[:, :, 0]
        mean = atoms.new_zeros(structures, 6).index_add(0, batch, atoms)
        count = mean.new_zeros(structures).index_add(0, batch, torch.ones_like(atoms[:, 0]))
        mean = mean / count.clamp(min=1)[:, None]
        return symmetric_tensors(mean[:, 0], mean[:, 1:])

    def _received(self, x: Tensor, edges: Edges) -> Tensor:
        """Means over the edges of each node, alone and times degree 2, (nodes, 6, width)."""
        unit = self._harmonics(edges)
        distance = edges.distance.detach()[:, None] ** self.constants["degree"]
        along = unit.to(distance.dtype) * distance
        along = self.projection(along.to(unit.dtype)[:, :, None])
        ends = (edges.source, edges.target) if self.both else (edges.target,)
        with torch.autocast(x.device.type, enabled=False):
            # squares of distances to the power of lmax do not fit into 16 bits
            seen = [
                torch.einsum("esc,es->ec", x[end].to(unit.dtype), along[:, :, 0]) for end in ends
            ]
            pairs = self.norm(torch.cat(seen, dim=1))
        values = torch.cat((pairs[:, None], unit[:, 4:9, None] * pairs[:, None]), dim=1)
        alike = values.new_zeros(values.shape[0], 1)
        share = edge_weights(alike, edges.receivers, edges.nodes, edges.envelope)
        out = values.new_zeros(edges.nodes, *values.shape[1:])
        return out.index_add(0, edges.receivers, values * share[:, :, None])

    def _harmonics(self, edges: Edges) -> Tensor:
        """Orthonormal ones of the edges' directions: what frames turn to the pole, (E, rows)."""
        return edges.frames[:, : self.layout.lmax + 1].sum(1) * self.constants["scale"]


def _map(width: int) -> nn.Sequential:
    made = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
    for linear in (made[0], made[2]):
        bound = 1 / math.sqrt(width)
        nn.init.uniform_(linear.weight, -bound, bound)  # type: ignore[arg-type]
        nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    return made
