"""What compact transformers do with tokens: positions, blocks, pooling, logits.

Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021 (arXiv 2104.05704).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.drop_path import DropPath, drop_rates
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import FeedForward
from surform.layers.self_attention import AttentionKind, self_attention
from surform.layers.sinusoid import rounded_sinusoid

__all__ = ["CompactBlock", "CompactEncoder", "Positions"]

Positions = Literal["learnable", "sine", "none"]


class CompactBlock(nn.Module):
    """One layer, (b, n, dim) -> same. Its second norm acts on the residual stream itself:

    b = norm(x + attention(pre_norm(x))); y = b + feed_forward(b), each branch with drop path.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.0,
        attention: AttentionKind = "softmax",
        attention_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.pre_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = self_attention(
            attention,
            dim,
            heads,
            options=attention_options,
            dropout=attention_dropout,
            qkv_bias=False,
        )
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout)
        self.dropout, self.drop_path = Dropout(dropout), DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """mask: tokens to attend to (True = keep)."""
        x = self.norm(self.drop_path.add(x, self._attended, mask))
        return self.drop_path.add(x, self.feed_forward)

    def _attended(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.dropout(self.attention(self.pre_norm(x), mask=mask))


class CompactEncoder(nn.Module):
    """Tokens to logits: (b, n, dim) -> (b, num_classes).

    Sequence pooling, used without a class token, is softmax attention with one learned query; the
    published score has a bias, too, which softmax cannot see: `pool_bias` is kept for its weights.

    Args:
        tokens: how many there are, the class token apart; None where positions do not need it.
        class_token: read the logits off a token of their own instead of pooling.
        positions: "sine" is a fixed table; see `rounded_sinusoid`.
        legacy_sine: "sine" gives a learnable table, as the official CCT and CVT factories do.
        drop_path: of the last block; it grows linearly from 0.
        attention, attention_options: see `surform.layers.self_attention`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        num_classes: int,
        *,
        tokens: int | None,
        class_token: bool = False,
        positions: Positions = "learnable",
        legacy_sine: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if attention == "delta" and class_token:
            raise ValueError(
                "attention is 'delta', which looks back only, but the class token comes first: "
                "choose another kind, or a network that pools its tokens"
            )
        _check(dim, depth, heads, mlp_ratio, num_classes)
        fraction(dropout=dropout, attention_dropout=attention_dropout)
        one_of("positions", positions, ["learnable", "sine", "none"])
        self.tokens = tokens
        self._add_positions(positions, legacy_sine, dim, tokens, class_token)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            CompactBlock(
                dim,
                heads,
                int(dim * mlp_ratio),
                dropout=dropout,
                attention_dropout=attention_dropout,
                drop_path=rate,
                attention=attention,
                attention_options=attention_options,
            )
            for rate in drop_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        self.pool = None if class_token else nn.Parameter(torch.empty(1, dim))
        if not class_token:
            self.register_buffer("pool_bias", torch.zeros(1))
        self.head = nn.Linear(dim, num_classes)
        self._initialize()

    def forward(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits; mask: tokens that exist (True = keep)."""
        x = self.features(x, mask)
        return self.head(x[:, 0] if self.pool is None else self._pooled(x, self.pool, mask))

    def features(
        self, x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b t c"]:
        """The tokens after the last norm, the class token first where there is one."""
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(x.shape[0], -1, -1).to(x.dtype), x), 1)
            if mask is not None:
                mask = torch.cat((mask.new_ones(mask.shape[0], 1), mask), 1)
        if self.positions is not None:
            x = x + self.positions
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def _pooled(
        self, x: Float[Tensor, "b n c"], pool: Tensor, mask: Bool[Tensor, "b m"] | None
    ) -> Float[Tensor, "b c"]:
        query = pool.to(x.dtype).expand(x.shape[0], 1, 1, -1)
        values = x.unsqueeze(1)  # one head as wide as the tokens
        return attention.softmax(query, values, values, mask=mask, scale=1.0)[:, 0, 0]

    def _add_positions(
        self, kind: Positions, legacy: bool, dim: int, tokens: int | None, class_token: bool
    ) -> None:
        if kind == "none":
            self.positions = None
            return
        if tokens is None:
            raise ValueError(f"positions={kind!r} need the number of tokens")
        count = tokens + class_token
        if kind == "learnable" or legacy:
            self.positions = nn.Parameter(torch.empty(1, count, dim))
        else:  # stored with the weights: official tables may have been made in another precision
            self.register_buffer("positions", rounded_sinusoid(count, dim)[None])

    def _initialize(self) -> None:
        if isinstance(self.positions, nn.Parameter):
            nn.init.trunc_normal_(self.positions, std=0.2)
        if self.pool is not None:
            nn.init.trunc_normal_(self.pool, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _check(dim: int, depth: int, heads: int, mlp_ratio: float, num_classes: int) -> None:
    at_least(1, dim=dim, depth=depth, heads=heads, num_classes=num_classes)
    if dim % heads:
        raise ValueError(f"heads is {heads}, but must divide dim = {dim}")
    if int(dim * mlp_ratio) < 1:
        raise ValueError(f"mlp_ratio is {mlp_ratio}, which leaves no hidden channel of {dim}")
