"""CARD: a channel-aligned robust blend transformer for forecasting (Wang et al., 2024)."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.forecasting.card_attention import CardAttention, FlatNorm
from surform.forecasting.card_embedding import CardEmbedding, instance_statistics
from surform.forecasting.card_smoothing import Smoothing
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction
from surform.layers.dropout import Dropout

__all__ = ["Card"]


class Card(nn.Module):
    """Forecasts `horizon` steps of every variate; the defaults are published for ETT.

    Wang, Zhou, Wen, Gao, Ding, Jin, "CARD: Channel Aligned Robust Blend Transformer for Time Series
    Forecasting" (ICLR 2024), arXiv 2305.12095; official code wxie9/CARD@ca6d34bcf263. Each variate
    is cut into patches; every layer attends over variates, then over patches, then over features.

    No parameter depends on the number of variates, unless `num_classes` asks for a classifier.
    Their order matters: queries are smoothed along it.

    Deviation: unobserved values do not enter the means of an imputation (`legacy_mask`).

    Args:
        lookback: steps given.
        horizon: steps forecast.
        patch_size, stride: [steps]; what remains at the end of the history is not used.
        mlp_ratio: hidden width of the feed-forward maps over dim.
        dropout: of the tokens, of attention weights, inside feed-forward maps and of each layer's
            branch.
        rank: summaries of the variates that attention over variates looks at.
        merge: neighbouring positions of a head that meet in one token; divides heads.
        smoothing: weight alpha of the newest entry in the smoothed queries and keys, in [0, 1]; at
            0 all entries are the first.
        momentum: of the running means and variances of all batch norms, in [0, 1].
        statistic_token: the first token tells a variate's mean and deviation; else it is learned.
        num_classes: classify the history, `(b, num_classes)`, in place of forecasting it.
        variates: their number, needed where `num_classes` is given.
        smooth_all_variates: smooth the queries of all variates. The official code smooths as many
            as there are tokens and sets the others' to zero: these attend to all summaries alike.
        legacy_mask: sums of an imputation's means take unobserved values, too, as published.
    """

    covariates: ClassVar[tuple[str, ...]] = ()

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 96,
        *,
        patch_size: int = 16,
        stride: int = 8,
        dim: int = 16,
        depth: int = 2,
        heads: int = 2,
        mlp_ratio: float = 2.0,
        dropout: float = 0.3,
        rank: int = 8,
        merge: int = 2,
        smoothing: float = 0.5,
        momentum: float = 0.1,
        statistic_token: bool = False,
        num_classes: int | None = None,
        variates: int | None = None,
        smooth_all_variates: bool = False,
        legacy_mask: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, patch_size=patch_size, stride=stride)
        at_least(1, dim=dim, depth=depth, heads=heads, rank=rank, merge=merge)
        fraction(dropout=dropout)
        hidden = _checked(lookback, patch_size, dim, heads, merge, mlp_ratio, smoothing, momentum)
        self.lookback, self.horizon, self.num_classes = lookback, horizon, num_classes
        self.variates, self.legacy_mask = variates, legacy_mask
        self.embedding = CardEmbedding(
            lookback, patch_size, stride, dim, dropout=dropout, statistic_token=statistic_token
        )
        tokens = self.embedding.tokens
        self.layers = nn.ModuleList(
            CardLayer(
                dim,
                heads,
                hidden,
                Smoothing(tokens, smoothing, smooth_all_variates),
                dropout=dropout,
                merge=merge,
                momentum=momentum,
                rank=rank,
            )
            for _ in range(depth)
        )
        if num_classes is None:
            self.head = nn.Linear(tokens * dim, horizon)
        else:
            at_least(1, num_classes=num_classes, variates=variates)
            self.head = nn.Linear(dim * (variates or 1), num_classes)

    def forward(
        self, history: Float[Tensor, "b l v"], *, observed: Bool[Tensor, "b l v"] | None = None
    ) -> Float[Tensor, "b h v"] | Float[Tensor, "b classes"]:
        """history: standardised. observed: True = given, for a model that fills gaps (imputation).

        Such a model's horizon is its lookback: it gives back the history, gaps filled.
        """
        self._check(history, observed)
        series = history.transpose(1, 2)  # (b, v, l)
        seen = None if observed is None else observed.transpose(1, 2)
        scaled, mean, deviation = instance_statistics(series, seen, self.legacy_mask)
        tokens = self.embedding(scaled if self.num_classes is None else series, mean, deviation)
        for layer in self.layers:
            tokens = layer(tokens)  # (b, v, t, dim)
        if self.num_classes is not None:
            return self.head(tokens.mean(-2).flatten(1))
        forecast = self.head(tokens.flatten(2)) * (deviation + 1e-4) + mean
        return forecast.transpose(1, 2)

    def _check(self, history: Tensor, observed: Tensor | None) -> None:
        shape = tuple(history.shape)
        if history.ndim != 3 or shape[1] != self.lookback:
            raise ValueError(
                f"history has the shape {shape}, expected (batch, {self.lookback}, variates)"
            )
        if self.num_classes is not None and shape[2] != self.variates:
            raise ValueError(f"history has {shape[2]} variates, the classifier {self.variates}")
        if observed is not None and (observed.dtype != torch.bool or observed.shape != shape):
            raise ValueError(
                f"observed is {observed.dtype} of the shape {tuple(observed.shape)}, expected bool "
                f"of the history's shape {shape} (True = given)"
            )


class CardLayer(nn.Module):
    """Attention over variates, then over tokens, and their sum beside the input."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        smoothing: Smoothing,
        *,
        dropout: float,
        merge: int,
        momentum: float,
        rank: int,
    ) -> None:
        super().__init__()

        def attention(rank: int | None) -> CardAttention:
            return CardAttention(
                dim,
                heads,
                hidden,
                smoothing,
                dropout=dropout,
                merge=merge,
                momentum=momentum,
                rank=rank,
            )

        self.dropout = Dropout(dropout)
        self.over_variates = attention(rank)
        self.over_tokens = attention(None)
        self.mix = nn.Linear(dim, dim)
        self.norm = FlatNorm(dim, momentum)

    def forward(self, x: Float[Tensor, "b v t c"]) -> Float[Tensor, "b v t c"]:
        across = self.over_variates(x.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()
        mixed = self.mix(across + self.over_tokens(across))
        return self.norm(x + self.dropout(mixed))


def _checked(
    lookback: int,
    patch_size: int,
    dim: int,
    heads: int,
    merge: int,
    mlp_ratio: float,
    smoothing: float,
    momentum: float,
) -> int:
    """The hidden width of the feed-forward maps, after ValueErrors about what does not fit."""
    if patch_size > lookback:
        raise ValueError(f"patch_size {patch_size} is longer than the lookback {lookback}")
    if dim % heads:
        raise ValueError(f"dim {dim} must be a multiple of heads {heads}")
    if heads % merge:
        raise ValueError(f"heads {heads} must be a multiple of merge {merge}")
    if round(dim * mlp_ratio) < 1:
        raise ValueError(f"mlp_ratio {mlp_ratio} leaves no hidden feature of dim {dim}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is {smoothing!r}, but must lie in [0, 1]")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum!r}, but must lie in [0, 1]")
    return round(dim * mlp_ratio)
