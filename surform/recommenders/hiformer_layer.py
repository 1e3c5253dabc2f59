"""One layer of Hiformer: attention among heterogeneous tokens, then a feed-forward block of each.

Gui et al., 2023 (arXiv 2311.05884).
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import FeedForward
from surform.recommenders.projections import Kind, projections
from surform.recommenders.token_maps import TokenFeedForward, TokenMaps

__all__ = ["AfterAttention", "HiformerLayer", "Norm"]

Norm = Literal["post", "pre", "none"]


class AfterAttention(nn.Module):
    """What follows attention: the map of the heads, both residuals, the feed-forward block, norms.

    Args:
        tokens: those that ask; None = any number, which share their weights.
        inputs: width of all heads together.
    """

    def __init__(
        self,
        tokens: int | None,
        inputs: int,
        dim: int,
        hidden: int,
        *,
        norm: Norm,
        norm_eps: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm = norm
        if tokens is None:
            self.out: nn.Module = nn.Linear(inputs, dim)
            self.feed_forward: nn.Module = FeedForward(dim, hidden)
        else:
            self.out = TokenMaps(tokens, inputs, dim)
            self.feed_forward = TokenFeedForward(tokens, dim, hidden)
        self.norm1 = None if norm == "none" else nn.LayerNorm(dim, norm_eps)
        self.norm2 = None if norm == "none" else nn.LayerNorm(dim, norm_eps)
        self.dropout = Dropout(dropout)

    def given(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Tokens as the projections see them."""
        return self.norm1(x) if self.norm == "pre" and self.norm1 is not None else x

    def forward(
        self, x: Float[Tensor, "m b1 c"], attended: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "m b c"]:
        """x: the asking tokens as they came in; one row serves a whole batch."""
        x = x + self.dropout(self.out(attended.permute(2, 0, 1, 3).flatten(2)))
        if self.norm1 is None or self.norm2 is None:
            return x + self.dropout(self.feed_forward(x))
        if self.norm == "pre":
            return x + self.dropout(self.feed_forward(self.norm2(x)))
        x = self.norm1(x)
        return self.norm2(x + self.dropout(self.feed_forward(x)))


class HiformerLayer(nn.Module):
    """(N, B, dim) -> (N, B, dim), or (queries, B, dim) where only the last tokens ask.

    In a pruned layer the query is the plain projection of each asking token, not a composite one,
    and parameters for the others do not exist.

    Args:
        tokens: N.
        queries: None = all tokens ask; else that many of the last ones.
    """

    def __init__(
        self,
        kind: Kind,
        tokens: int,
        dim: int,
        heads: int,
        key_dim: int,
        value_dim: int,
        hidden: int,
        *,
        key_rank: int,
        value_rank: int,
        queries: int | None,
        norm: Norm,
        norm_eps: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.queries, shared = queries, kind == "shared"
        asking = tokens if queries is None else queries
        self.maps = projections(
            kind,
            tokens,
            dim,
            heads,
            key_dim,
            value_dim,
            key_rank=key_rank,
            value_rank=value_rank,
            queries=queries,
        )
        self.after = AfterAttention(
            None if shared else asking,
            heads * value_dim,
            dim,
            hidden,
            norm=norm,
            norm_eps=norm_eps,
            dropout=dropout,
        )

    def forward(self, x: Float[Tensor, "n b c"]) -> Float[Tensor, "m b c"]:
        q, k, v = self.projected(x)
        dropout = self.after.dropout.p if self.training else 0.0
        return self.after(self.asking(x), attention.softmax(q, k, v, dropout_p=dropout))

    def forward_with_map(
        self, x: Float[Tensor, "n b c"]
    ) -> tuple[Float[Tensor, "m b c"], Float[Tensor, "b h m n"]]:
        """The output, and how much each asking token (row) took from each token."""
        q, k, v = self.projected(x)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.after(self.asking(x), attention.softmax(q, k, v)), weights

    def projected(
        self, x: Float[Tensor, "n b c"]
    ) -> tuple[
        Float[Tensor, "b h m d"],
        Float[Tensor, "b h n d"],
        Float[Tensor, "b h n e"],
    ]:
        """Queries, keys and values of tokens as they come in."""
        given, found = self.after.given(x), {}
        for names, each in self.maps.items():
            made = each(self.asking(given) if names == "q" else given)
            found |= dict(zip(names, made, strict=True))
        return found["q"], found["k"], found["v"]

    def asking(self, x: Float[Tensor, "n b c"]) -> Float[Tensor, "m b c"]:
        """The tokens that ask."""
        return x if self.queries is None else x[-self.queries :]
