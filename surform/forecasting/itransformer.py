"""iTransformer: each variate's whole look-back series is one token (Liu et al., 2024)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention as kinds
from surform.forecasting.covariate_tokens import CovariateTokens
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import Activation
from surform.layers.multihead import SelfAttention
from surform.layers.postnorm_encoder import EncoderLayer
from surform.layers.self_attention import AttentionKind, self_attention

__all__ = ["ITransformer"]

_EPS = 1e-5  # added to the variance of a look-back window


class ITransformer(nn.Module):
    """Forecasts (B, H, V) from (B, L, V): attention mixes variates, the rest works on each series.

    Liu, Hu, Zhang, Wu, Wang, Ma, Long, "iTransformer: Inverted Transformers Are Effective for Time
    Series Forecasting" (ICLR 2024), arXiv 2310.06625; official code
    thuml/iTransformer@c2426e68ca13.

    Nothing depends on V: the order of the variates does not matter, and a trained network takes
    other numbers of them. Calendar features (`past_marks`) become one token each through the map of
    the variates, as published; without them there are no such tokens.

    Where it costs less, and no dropout lies between, the first layer's projections are made from
    the series by one matrix. That changes the result by rounding only.

    Ours: tokens for covariates known ahead and for static ones, each with weights of its own.

    Args:
        lookback: steps given (L).
        horizon: steps forecast (H).
        mlp_ratio: width of the feed-forward block over `dim`; 1 in all published experiments.
        heads: each of width dim // heads.
        dropout: of the tokens, in the layers, and of the weights of softmax and knn attention.
        activation: of the feed-forward block.
        normalize: scale every series by its own mean and deviation over the look-back, and back.
        attention: "softmax", "flow" as in the authors' variant iFlowformer, or an efficient kind
            that asks for no order: "additive", "knn", "lsh", "spectral" (docs/attention.md). Those
            but softmax and knn drop no weights.
        attention_options: options of an efficient kind.
        known: covariates known over look-back and horizon (K), 0 for none.
        static: covariates constant along a series (S), 0 for none.
    """

    covariates: ClassVar[tuple[str, ...]] = ("past_marks", "known", "static")

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 96,
        *,
        dim: int = 512,
        depth: int = 2,
        heads: int = 8,
        mlp_ratio: float = 1.0,
        dropout: float = 0.1,
        activation: Activation = "gelu",
        normalize: bool = True,
        attention: Literal["flow"] | AttentionKind = "softmax",
        known: int = 0,
        static: int = 0,
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, dim=dim, depth=depth, heads=heads)
        at_least(0, known=known, static=static)
        fraction(dropout=dropout)
        one_of("attention", attention, ["flow", *get_args(AttentionKind)])
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio!r}, but dim * mlp_ratio must be at least 1")
        self.lookback, self.horizon, self.normalize = lookback, horizon, normalize
        self.embedding = nn.Linear(lookback, dim)
        self.known = CovariateTokens(known, lookback + horizon, dim) if known else None
        self.static = CovariateTokens(static, 1, dim) if static else None
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(
                _mixing(attention, dim, heads, dropout, attention_options),
                dim,
                hidden,
                dropout=dropout,
                activation=activation,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, horizon)

    def forward(
        self,
        history: Float[Tensor, "b l v"],
        *,
        past_marks: Float[Tensor, "b l m"] | None = None,
        known: Float[Tensor, "b t k"] | None = None,
        static: Float[Tensor, "b s"] | None = None,
    ) -> Float[Tensor, "b h v"]:
        """All in standardised units.

        Args:
            past_marks: calendar features of the look-back, any number of them.
            known: (B, L + H, known), not normalised by window: levels and rare events count.
            static: (B, static).

        Raises:
            ValueError: another look-back, or covariates that the network was not built for.
        """
        series, scale = self._series(history, past_marks, known, static)
        tokens = self._tokens(series, known, static)
        first = 0
        if tokens.shape[1] == series.shape[1] and self._merging_pays(tokens):
            tokens, first = self._first_layer(series, tokens), 1
        for layer in self.layers[first:]:
            tokens = layer(tokens)
        return self._forecast(tokens, history.shape[2], scale)

    def forward_with_attention(
        self,
        history: Float[Tensor, "b l v"],
        *,
        past_marks: Float[Tensor, "b l m"] | None = None,
        known: Float[Tensor, "b t k"] | None = None,
        static: Float[Tensor, "b s"] | None = None,
    ) -> tuple[Float[Tensor, "b h v"], list[Float[Tensor, "b heads n n"]]]:
        """The forecast, and per layer how much each token (row) took from each other one.

        The N tokens are, in this order: variates, marks, known covariates, static ones.
        """
        if not isinstance(cast(EncoderLayer, self.layers[0]).attention, SelfAttention):
            raise ValueError(
                "additive and lsh attention show no weights: there are none between two tokens"
            )
        series, scale = self._series(history, past_marks, known, static)
        tokens, maps = self._tokens(series, known, static), []
        for layer in self.layers:
            tokens, weights = layer.forward_with_map(tokens)  # type: ignore[operator]
            maps.append(weights)
        return self._forecast(tokens, history.shape[2], scale), maps

    def _series(
        self,
        history: Tensor,
        past_marks: Tensor | None,
        known: Tensor | None,
        static: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Series to embed (B, N, L), and mean and deviation (B, 1, V) where it normalises."""
        self._check(history, past_marks, known, static)
        scale = None
        if self.normalize:
            mean = history.mean(1, keepdim=True).detach()  # a constant; the deviation is none
            history = history - mean
            deviation = (history.square().mean(1, keepdim=True) + _EPS).sqrt()
            history, scale = history / deviation, (mean, deviation)
        series = history if past_marks is None else torch.cat((history, past_marks), 2)
        return series.transpose(1, 2), scale

    def _tokens(self, series: Tensor, known: Tensor | None, static: Tensor | None) -> Tensor:
        """(B, N, L) and the covariates -> embedded tokens (B, N + covariates, dim)."""
        tokens, more = self.embedding(series), []
        if self.known is not None and known is not None:
            more.append(self.known(known))
        if self.static is not None and static is not None:
            more.append(self.static(static[:, None]))
        tokens = torch.cat((tokens, *more), 1) if more else tokens
        return self.dropout(tokens)

    def _merging_pays(self, tokens: Tensor) -> bool:
        """Whether one map from series to queries, keys and values costs less than two.

        Dropout between the two keeps them apart. Each token saves dim - lookback products per
        output, the map itself costs dim * lookback. An exported program must hold for every batch,
        so it does not choose. Weights in shards are whole only while their own layer runs, and
        layers that stand in for the linear ones (adapters, say) compute something else.
        """
        dropped = self.training and self.dropout.p > 0
        qkv: Any = getattr(cast(EncoderLayer, self.layers[0]).attention, "qkv", None)
        plain = type(qkv) is type(self.embedding) is nn.Linear and qkv.bias is not None
        plain = plain and hasattr(self.layers[0].attention, "attended")
        if dropped or torch.compiler.is_exporting() or not plain:
            return False
        if type(qkv.weight) is not nn.Parameter:
            return False
        count, dim = tokens.shape[:-1].numel(), tokens.shape[-1]
        return count * (dim - self.lookback) > dim * self.lookback

    def _first_layer(self, series: Tensor, tokens: Tensor) -> Tensor:
        """What the first layer makes of the embedded series, its projections made from them."""
        layer = cast(EncoderLayer, self.layers[0])
        attention = cast(SelfAttention, layer.attention)
        weight = attention.qkv.weight @ self.embedding.weight
        bias = F.linear(self.embedding.bias, attention.qkv.weight, attention.qkv.bias)
        return layer.finish(tokens, attention.attended(F.linear(series, weight, bias)))

    def _forecast(
        self, tokens: Tensor, variates: int, scale: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        # cutting off the other tokens first would copy those of the variates
        y = self.head(self.norm(tokens))[:, :variates].transpose(1, 2)
        if scale is None:
            return y
        mean, deviation = scale
        return y * deviation + mean

    def _check(
        self,
        history: Tensor,
        past_marks: Tensor | None,
        known: Tensor | None,
        static: Tensor | None,
    ) -> None:
        if history.ndim != 3 or history.shape[1] != self.lookback:
            raise ValueError(
                f"history has shape {tuple(history.shape)}, but must be (batch, lookback, "
                f"variates) with lookback = {self.lookback}"
            )
        batch, steps = history.shape[0], self.lookback + self.horizon
        if past_marks is not None and past_marks.shape[:-1] != (batch, self.lookback):
            raise ValueError(
                f"past_marks has shape {tuple(past_marks.shape)}, but must be (batch, lookback, "
                f"marks) = ({batch}, {self.lookback}, ...)"
            )
        for name, found, tokens, shape in (
            ("known", known, self.known, (batch, steps)),
            ("static", static, self.static, (batch,)),
        ):
            wanted = None if tokens is None else (*shape, tokens.count)
            have = None if found is None else tuple(found.shape)
            if have != wanted:
                built = 0 if tokens is None else tokens.count
                raise ValueError(
                    f"{name} {_given(have)}, but the network was built with {name} = {built} "
                    f"and takes {_given(wanted)}"
                )


def _given(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {shape}"


def _mixing(
    attention: str, dim: int, heads: int, dropout: float, options: dict[str, Any] | None
) -> nn.Module:
    """Attention of tokens that have no order."""
    if attention == "flow":
        if options:
            raise ValueError("flow attention has no options: leave attention_options out")
        return SelfAttention(dim, heads, kinds.flow)
    kind = cast(AttentionKind, attention)
    return self_attention(kind, dim, heads, options=options, dropout=dropout, ordered=False)
