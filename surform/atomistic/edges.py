"""What a network needs of the edges of a graph, made once per call; worked on in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from surform.layers.recomputed import recomputed

__all__ = ["Edges", "Gaussians", "envelope"]

_PIECE = 384  # edges that are worked on at a time on each thread of a CPU
_LARGE_PIECE = 1 << 15  # elsewhere


class Gaussians(nn.Module):
    """A distance [Å] as values of Gaussians whose centres are evenly spaced from 0 to the cutoff.

    Each is twice as wide (standard deviation) as the spacing, which is a hundredth of an Å as
    published: differences to the centres are taken in float64, as rounding the distance would move
    slopes by 1e-4.
    """

    def __init__(self, cutoff: float, count: int = 600) -> None:
        super().__init__()
        self.count, self.spacing = count, cutoff / (count - 1)

    def forward(self, distance: Tensor, dtype: torch.dtype) -> Tensor:
        """(E,) in float64 -> (E, count) in `dtype`."""
        steps = torch.arange(self.count, dtype=distance.dtype, device=distance.device)
        widths = (distance[:, None] / self.spacing - steps) * 0.5
        return torch.exp(-0.5 * widths.to(dtype).square())


def envelope(distance: Tensor, cutoff: float, exponent: int) -> Tensor:
    """1 at distance 0; at the cutoff 0 with two derivatives, and 0 beyond.

    Gasteiger et al., "Directional Message Passing", 2020 (arXiv 2003.03123), equation 8.
    """
    p, t = exponent, distance / cutoff
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return torch.where(t < 1, 1 - t**p * (a - t * (b - t * c)), 0.0)


@dataclass
class Edges:
    """Edges from neighbours (sources) to the nodes that receive from them (targets).

    source, target: numbers of nodes (E). elements: atomic numbers (N). distance: (E,) [Å], in
    float64 where the device has it. frames: Wigner matrices into the frames of the edges,
    (E, rows, (lmax + 1)^2). envelope: (E,) or None. atoms: tables of elements that all layers
    share, or None. first, nodes: the nodes that receive.
    """

    source: Tensor
    target: Tensor
    elements: Tensor
    distance: Tensor
    frames: Tensor
    gaussians: Gaussians
    nodes: int
    envelope: Tensor | None = None
    atoms: tuple[Tensor, Tensor] | None = None
    first: int = 0
    cuts: list[tuple[int, int, int, int]] | None = None  # edges from, to; nodes from, to
    recompute: bool = False
    _basis: Tensor | None = field(default=None, repr=False)

    @property
    def basis(self) -> Tensor:
        """Gaussians of the distances, (E, basis)."""
        basis = self._basis
        if basis is None:
            basis = self._basis = self.gaussians(self.distance, self.frames.dtype)
        return basis

    @property
    def receivers(self) -> Tensor:
        """The targets, counted from the first node that receives."""
        return self.target - self.first if self.first else self.target

    def in_pieces(self, function: Callable[[Edges], Tensor]) -> Tensor:
        """function(edges) -> (nodes, ...), from pieces that hold all edges of their nodes."""
        if self.cuts is None:
            return function(self)
        if self.recompute and torch.is_grad_enabled():

            def afresh(piece: Edges) -> Tensor:  # what a piece keeps would not be made again
                return function(replace(piece))

            return torch.cat([recomputed(afresh, piece) for piece in self._pieces()])
        return torch.cat([function(piece) for piece in self._pieces()])

    def _pieces(self) -> Iterator[Edges]:
        assert self.cuts is not None
        for start, stop, first, last in self.cuts:
            own = slice(start, stop)
            yield replace(
                self,
                source=self.source[own],
                target=self.target[own],
                distance=self.distance[own],
                frames=self.frames[own],
                envelope=None if self.envelope is None else self.envelope[own],
                first=first,
                nodes=last - first,
                cuts=None,
                _basis=None,
            )

    def cut(self) -> None:
        """Work in pieces from now on; the targets must not decrease."""
        device = self.target.device.type
        most = _PIECE * torch.get_num_threads() if device == "cpu" else _LARGE_PIECE
        if len(self.target) <= most:
            return
        degrees = torch.bincount(self.target, minlength=self.nodes).tolist()
        cuts, start, first, held = [], 0, 0, 0
        for node, degree in enumerate(degrees):
            if held and held + degree > most:
                cuts.append((start, start + held, first, node))
                start, first, held = start + held, node, 0
            held += degree
        self.cuts = [*cuts, (start, start + held, first, self.nodes)]
