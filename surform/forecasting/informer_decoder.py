"""The Informer's decoder layer: attention to itself, to the encoder, feed-forward, norms last."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.feed_forward import Activation, FeedForward

__all__ = ["DecoderLayer"]


class DecoderLayer(nn.Module):
    """norm1(x + self(x)); norm2(x + cross(x, memory)); norm3(x + feed_forward(x)).

    Args:
        attention: (b, n, dim) -> (b, n, dim), causal; options of `forward` are handed to it.
        cross: (b, n, dim), (b, m, dim) -> (b, n, dim).
        hidden: width of the feed-forward block.
        dropout: after both attentions, twice in the feed-forward block.
    """

    def __init__(
        self,
        attention: nn.Module,
        cross: nn.Module,
        dim: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.attention, self.cross = attention, cross
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout, activation=activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        memory: Float[Tensor, "b m c"],
        *,
        last: int | None = None,
        **options: Any,
    ) -> Float[Tensor, "b k c"]:
        """last: how many of the last steps are wanted (None = all): past the attention among
        themselves, each step goes its own way."""
        x = self.norm1(x + self.dropout(self.attention(x, **options)))
        if last is not None:
            x = x[:, -last:]
        x = self.norm2(x + self.dropout(self.cross(x, memory)))
        return self.norm3(x + self.feed_forward(x))
