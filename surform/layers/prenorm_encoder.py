"""A transformer encoder layer with its norms before the branches, as in the vision transformer.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020 (arXiv 2010.11929), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.layers.drop_path import DropPath
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import FeedForward
from surform.layers.self_attention import AttentionKind, self_attention

__all__ = ["EncoderBlock", "check_widths", "initialize"]


class EncoderBlock(nn.Module):
    """x += attention(norm1(x)); x += feed_forward(norm2(x)): (b, n, dim) -> same.

    Args:
        hidden: width of the feed-forward block.
        norm_eps: of both norms.
        dropout: after the attention's last map, and in the feed-forward block.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip a branch in training.
        attention, attention_options: see `surform.layers.self_attention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        norm_eps: float = 1e-6,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        attention: AttentionKind = "softmax",
        attention_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = self_attention(
            attention, dim, heads, options=attention_options, dropout=attention_dropout
        )
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout)
        self.dropout, self.drop_path = Dropout(dropout), DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """mask: True = keep."""
        x = self.drop_path.add(x, self._attended, mask)
        return self.drop_path.add(x, self._fed)

    def _attended(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.dropout(self.attention(self.norm1(x), mask=mask))

    def _fed(self, x: Tensor) -> Tensor:
        return self.feed_forward(self.norm2(x))


def check_widths(dim: int, depth: int, heads: int, mlp_ratio: float, num_classes: int) -> int:
    """The width of the feed-forward blocks; ValueError for widths that cannot be."""
    at_least(1, dim=dim, depth=depth, heads=heads, num_classes=num_classes)
    if dim % heads:
        raise ValueError(f"heads is {heads}, but must divide dim = {dim}")
    hidden = round(dim * mlp_ratio)
    if hidden < 1:
        raise ValueError(f"mlp_ratio is {mlp_ratio}, which leaves no hidden channel of {dim}")
    return hidden


def initialize(net: nn.Module, *tables: nn.Parameter) -> None:
    """Linear maps and tables from a normal distribution of deviation 0.02, biases 0."""
    for table in tables:
        nn.init.trunc_normal_(table, std=0.02)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
