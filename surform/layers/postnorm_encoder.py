"""A transformer encoder layer with its norms after the residuals, as first published.

Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762), section 3.1.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import fraction
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import Activation, FeedForward

__all__ = ["EncoderLayer"]


class EncoderLayer(nn.Module):
    """x = norm1(x + dropout(attention(x))); norm2(x + feed_forward(x)): (b, n, dim) -> same.

    Args:
        attention: (b, n, dim) -> (b, n, dim), such as `SelfAttention`; options of `forward` are
            handed to it.
        hidden: width of the feed-forward block.
        dropout: after the attention and twice in the feed-forward block.
        norm_eps: of both norms.
    """

    def __init__(
        self,
        attention: nn.Module,
        dim: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        fraction(dropout=dropout)
        self.attention = attention
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=norm_eps) for _ in range(2))
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout, activation=activation)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "b n c"], **options: Any) -> Float[Tensor, "b n c"]:
        return self.finish(x, self.attention(x, **options))

    def forward_with_map(
        self, x: Float[Tensor, "b n c"], **options: Any
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b h n n"]]:
        """The output and the attention's weights; needs an attention that shows them."""
        mixed, weights = self.attention.forward_with_map(x, **options)  # type: ignore[operator]
        return self.finish(x, mixed), weights

    def finish(
        self, x: Float[Tensor, "b n c"], mixed: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b n c"]:
        """The rest of the layer, from its input and what attention made of it."""
        x = self.norm1(x + self.dropout(mixed))
        return self.norm2(x + self.feed_forward(x))
