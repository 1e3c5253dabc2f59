"""Parts of GNOT: residual maps of points, the gate, and layers in two steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.dropout import Dropout
from surform.layers.remembered import Remembered
from surform.operators.expert_blocks import ACTIVATIONS
from surform.operators.expert_mixture import ExpertMixture
from surform.operators.gnot_attention import CrossAttention, SelfAttention

__all__ = ["GateNet", "Layer", "Octaves", "ResidualMLP"]


class ResidualMLP(nn.Module):
    """Linear, activation; `depth` times y + activation(Linear(y)); Linear."""

    def __init__(
        self, in_channels: int, dim: int, out_channels: int, depth: int, activation: str = "gelu"
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation].function
        self.first = nn.Linear(in_channels, dim)
        self.hidden = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.last = nn.Linear(dim, out_channels)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b o"]:
        y = self.activation(self.first(x))
        for linear in self.hidden:
            y = self.activation(linear(y)) + y
        return self.last(y)


class Octaves(nn.Module):
    """Every channel t as [t, cos(2^k t), sin(2^k t)] with k = -n ... n, channel after channel."""

    frequencies: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        frequencies = 2.0 ** torch.arange(-n, n + 1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.width = 1 + 2 * len(frequencies)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b o"]:
        t = x.unsqueeze(-1)
        phases = t * self.frequencies
        return torch.cat((t, phases.cos(), phases.sin()), dim=-1).flatten(-2)


class GateNet(nn.Module):
    """Logits of the experts at every position: a perceptron with two hidden layers."""

    def __init__(
        self,
        space_dim: int,
        hidden: int,
        experts: int,
        activation: str = "gelu",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(space_dim, hidden)
        self.rest = ExpertMixture(
            hidden, hidden, out=experts, activation=activation, recompute=recompute
        )

    def forward(self, positions: Float[Tensor, "*b s"]) -> Float[Tensor, "*b m"]:
        return self.rest(positions, first=self.first)


class Layer(nn.Module):
    """Cross attention, feed-forward map, self attention, feed-forward map; all residual.

    In two steps, so that points can be read in pieces: `enter` up to the queries and the key sums
    of the self attention, `leave` with the finished sums over the points of all pieces.

    Args:
        inputs: number of input functions.
        hidden: width of the feed-forward maps and of the gate.
        experts: feed-forward maps that a gate mixes, the same gate twice.
        norm_after: normalise what a feed-forward map gives (GNOT) instead of its input (CGPTNO).
        dropout: of both attention branches; attention_dropout: inside the self attention.
        recompute: keep no hidden values for the backward pass (CPU): less memory, more time.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inputs: int,
        hidden: int,
        *,
        experts: int = 1,
        space_dim: int = 0,
        norm_after: bool = False,
        activation: str = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.norm_after = norm_after
        self._known_gates = Remembered()
        self.gate = None
        if experts > 1:
            self.gate = GateNet(space_dim, hidden, experts, activation, recompute)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = CrossAttention(dim, heads, inputs)
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = SelfAttention(dim, heads, attention_dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        options = {"activation": activation, "recompute": recompute}
        self.mixture1 = ExpertMixture(dim, hidden, experts, **options)
        self.mixture2 = ExpertMixture(dim, hidden, experts, **options)
        self.dropout = Dropout(dropout)

    def gates(
        self, positions: Float[Tensor, "b n s"], piece: int = 0
    ) -> Float[Tensor, "b n m"] | None:
        """Shares of the experts at every point; None for a single one, which needs none.

        In inference on a CPU they are kept for the next call with the same positions: `piece` tells
        parts of a mesh apart.
        """
        if self.gate is None:
            return None
        known = self._known_gates.recall(self.gate, dict)  # an empty one once the gate has changed
        if piece in known:
            before, gates = known[piece]
            if before.dtype == positions.dtype and torch.equal(before, positions):
                return gates
        gates = torch.softmax(self.gate(positions), dim=-1)
        known[piece] = (positions.detach().clone(), gates)
        return gates

    def enter(
        self,
        x: Float[Tensor, "b n c"],
        sums: Sequence[Float[Tensor, "b h d e"]],
        gates: Float[Tensor, "b n m"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
        weights: Float[Tensor, "b n"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(x, q, sums of these points as keys); sums: those of the input functions."""
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), sums))
        x = x + self._mixed(self.mixture1, self.norm1, x, gates)
        return x, *self.self_attention.project(self.self_norm(x), mask, weights)

    def leave(
        self,
        x: Float[Tensor, "b n c"],
        q: Float[Tensor, "b n h d"],
        sums: Float[Tensor, "b h d e"],
        gates: Float[Tensor, "b n m"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """The layer's result; sums: over all points, from the self attention's `finish`."""
        x = x + self.dropout(self.self_attention(q, sums))
        return x + self._mixed(self.mixture2, self.norm2, x, gates)

    def _mixed(
        self, mixture: ExpertMixture, norm: nn.Module, x: Tensor, gates: Tensor | None
    ) -> Tensor:
        return norm(mixture(x, gates)) if self.norm_after else mixture(norm(x), gates)
