"""Informer: a sparse, distilling encoder, a decoder that gives all steps at once (Zhou, 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.forecasting.informer_checks import check_inputs, check_windows
from surform.forecasting.informer_decoder import DecoderLayer
from surform.forecasting.informer_embedding import Calendar, SeriesEmbedding
from surform.forecasting.informer_encoder import DistillingEncoder, EncoderStack
from surform.layers.arguments import record_arguments
from surform.layers.attends import ProbSparse, Softmax
from surform.layers.checks import at_least, fraction, one_of
from surform.layers.feed_forward import Activation
from surform.layers.multihead import CrossAttention, SelfAttention
from surform.layers.postnorm_encoder import EncoderLayer

__all__ = ["Informer", "InformerStack"]

Attention = Literal["prob", "full"]


class _EncoderDecoder(nn.Module):
    """What both Informers share; `depths` has one entry per encoder, `stacked` as in the paper."""

    covariates: ClassVar[tuple[str, ...]] = ("past_marks", "future_marks")

    def __init__(
        self,
        *,
        lookback: int,
        horizon: int,
        variates: int,
        marks: int,
        label_length: int,
        dim: int,
        depths: Sequence[int],
        decoder_depth: int,
        heads: int,
        mlp_ratio: float,
        dropout: float,
        factor: int,
        attention: Attention,
        calendar: Calendar,
        activation: Activation,
        distil: bool,
        mix: bool,
        padding: int,
        out_variates: int | None,
        decoder_variates: int | None,
        always_draw: bool,
        stacked: bool,
    ) -> None:
        super().__init__()
        out = variates if out_variates is None else out_variates
        into_decoder = variates if decoder_variates is None else decoder_variates
        at_least(1, lookback=lookback, horizon=horizon, variates=variates, dim=dim, heads=heads)
        at_least(1, decoder_depth=decoder_depth, factor=factor, out_variates=out)
        at_least(1, decoder_variates=into_decoder)
        at_least(0, label_length=label_length, marks=marks)
        fraction(dropout=dropout)
        one_of("attention", attention, ["prob", "full"])
        one_of("calendar", calendar, ["continuous", "fixed", "learned"])
        one_of("padding", padding, [0, 1])
        check_windows(lookback, label_length, depths, stacked)
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio!r}, but dim * mlp_ratio must be at least 1")
        self.lookback, self.horizon, self.label_length = lookback, horizon, label_length
        self.variates, self.marks, self.padding = variates, marks, padding
        self.decoder_variates = into_decoder

        def attend(number: int, causal: bool = False) -> nn.Module:
            if attention == "full":
                return Softmax(dropout, causal=causal)
            return ProbSparse(factor, causal=causal, seed=number, always_draw=always_draw)

        def encoder_layer(number: int) -> nn.Module:
            mixer = SelfAttention(dim, heads, attend(number))
            return EncoderLayer(mixer, dim, hidden, dropout=dropout, activation=activation)

        def decoder_layer(number: int) -> nn.Module:
            mixer = SelfAttention(dim, heads, attend(number, causal=True), mix=mix)
            cross = CrossAttention(dim, heads, Softmax(dropout))
            return DecoderLayer(mixer, cross, dim, hidden, dropout=dropout, activation=activation)

        def embedding(width: int, length: int) -> SeriesEmbedding:
            return SeriesEmbedding(
                width, dim, marks=marks, calendar=calendar, length=length, dropout=dropout
            )

        self.embedding = embedding(variates, lookback)
        self.decoder_embedding = embedding(into_decoder, label_length + horizon)
        if stacked:
            self.encoder = EncoderStack(dim, depths, encoder_layer, distil=distil)
        else:
            self.encoder = DistillingEncoder(dim, depths[0], encoder_layer, distil=distil)
        before = sum(depths)  # seeds of the samples: one number for each attention
        self.sampled_attentions = before + decoder_depth if attention == "prob" else 0
        self.decoder = nn.ModuleList(decoder_layer(before + i) for i in range(decoder_depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, out)

    def forward(
        self,
        history: Float[Tensor, "b l v"],
        *,
        past_marks: Float[Tensor, "b l m"] | None = None,
        future_marks: Float[Tensor, "b h m"] | None = None,
    ) -> Float[Tensor, "b h o"]:
        """All in standardised units; raises ValueError for shapes it was not built for."""
        return self.forward_from(*self._windows(history, past_marks, future_marks))

    def forward_with_attention(
        self,
        history: Float[Tensor, "b l v"],
        *,
        past_marks: Float[Tensor, "b l m"] | None = None,
        future_marks: Float[Tensor, "b h m"] | None = None,
    ) -> tuple[Float[Tensor, "b h o"], list[Float[Tensor, "b heads n n"]]]:
        """The forecast, and the weights of every attention in the encoder, in order."""
        maps: list[Tensor] = []
        windows = self._windows(history, past_marks, future_marks)
        return self.forward_from(*windows, maps=maps), maps

    def forward_from(
        self,
        history: Float[Tensor, "b l v"],
        past_marks: Float[Tensor, "b l m"] | None,
        start: Float[Tensor, "b t w"],
        start_marks: Float[Tensor, "b t m"] | None,
        *,
        samples: Sequence[Int[Tensor, "n s"] | None] | None = None,
        maps: list[Tensor] | None = None,
        every_step: bool = False,
    ) -> Float[Tensor, "b h o"]:
        """The last `horizon` steps that the decoder makes of an input of its own.

        Args:
            start: what the decoder starts from: known values, then placeholders.
            samples: sampled keys of every ProbSparse attention, those of the encoder first; None
                for drawn ones.
            maps: gets the weights of the encoder's attentions appended.
            every_step: what the decoder makes of the known values, too: (B, T, out).
        """
        if samples is not None and len(samples) != self.sampled_attentions:
            raise ValueError(
                f"samples has {len(samples)} entries, but the network has "
                f"{self.sampled_attentions} attentions that sample"
            )
        chosen = None if samples is None or not samples else iter(samples)
        memory = self.encoder(self.embedding(history, past_marks), chosen, maps)
        x = self.decoder_embedding(start, start_marks)
        for i, layer in enumerate(self.decoder):
            options = {} if chosen is None else {"sample_index": next(chosen)}
            ends = i == len(self.decoder) - 1 and not every_step
            x = layer(x, memory, last=self.horizon if ends else None, **options)
        return self.head(self.norm(x))

    def _windows(
        self, history: Tensor, past_marks: Tensor | None, future_marks: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """The decoder starts from the last `label_length` steps and `padding` over the horizon."""
        if self.decoder_variates != self.variates:
            raise ValueError(
                f"the decoder takes {self.decoder_variates} variates, the history has "
                f"{self.variates}: call forward_from with an input for the decoder"
            )
        check_inputs(
            history,
            past_marks,
            future_marks,
            lookback=self.lookback,
            horizon=self.horizon,
            variates=self.variates,
            marks=self.marks,
        )
        first = self.lookback - self.label_length
        blank = torch.full_like(history[:, :1], self.padding).expand(-1, self.horizon, -1)
        start = torch.cat((history[:, first:], blank), 1)
        if past_marks is None or future_marks is None:
            return history, None, start, None
        return history, past_marks, start, torch.cat((past_marks[:, first:], future_marks), 1)


def _alike(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that both constructors have, out of the names that one of them sees."""
    own = ("self", "__class__", "depth", "depths")
    return {name: value for name, value in given.items() if name not in own}


class Informer(_EncoderDecoder):
    """Forecasts (B, H, V) from (B, L, V) and the calendar features of both.

    Zhou, Zhang, Peng, Zhang, Li, Xiong, Zhang, "Informer: Beyond Efficient Transformer for Long
    Sequence Time-Series Forecasting" (AAAI 2021), arXiv 2012.07436; official code
    zhouhaoyi/Informer2020@29f2a739226a. Defaults are those of its command line.

    Deviations: in evaluation the sampled keys depend on the lengths alone, so that a forecast
    repeats (`always_draw` for the official habit). Without calendar features (`marks` = 0) there is
    no calendar embedding.

    Args:
        lookback: steps given (L).
        horizon: steps forecast (H).
        variates: columns of the history (V).
        marks: calendar features (M), 0 for none.
        label_length: last steps of the history that the decoder starts from.
        depth: layers of the encoder, each but the last followed by a distilling layer.
        decoder_depth: layers of the decoder.
        heads: each of width dim // heads.
        mlp_ratio: width of the feed-forward blocks over `dim`.
        dropout: of embeddings, layers and the weights of full attention.
        factor: c of ProbSparse attention.
        attention: of encoder and decoder to themselves: "prob" or "full"; the decoder's is causal.
            Its attention to the encoder is always full, without a mask.
        calendar: "continuous" for marks in [-0.5, 0.5]; "fixed" (sinusoids) and "learned" look up
            whole numbers, the encoding "integer" of the data.
        activation: of the feed-forward blocks.
        distil: halve the series between encoder layers.
        mix: merge the heads of the decoder's self-attention in memory order, as published, which
            scrambles head and time.
        padding: value that stands for the unknown future in the decoder's input, 0 or 1.
        out_variates: variates forecast; None = `variates`.
        decoder_variates: columns of the decoder's input; other numbers than `variates` need
            `forward_from`.
        always_draw: draw keys anew in evaluation, too, as the official code does.
    """

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 24,
        *,
        variates: int,
        marks: int,
        label_length: int = 48,
        dim: int = 512,
        depth: int = 2,
        decoder_depth: int = 1,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        dropout: float = 0.05,
        factor: int = 5,
        attention: Attention = "prob",
        calendar: Calendar = "continuous",
        activation: Activation = "gelu",
        distil: bool = True,
        mix: bool = True,
        padding: int = 0,
        out_variates: int | None = None,
        decoder_variates: int | None = None,
        always_draw: bool = False,
    ) -> None:
        super().__init__(depths=(depth,), stacked=False, **_alike(locals()))


class InformerStack(_EncoderDecoder):
    """An Informer with several encoders: encoder i reads the last L // 2^i steps.

    Their outputs follow one another on the time axis of what the decoder attends to (Zhou et al.,
    arXiv 2012.07436, section 3.3).

    Args:
        depths: layers of each encoder.
        others: as in `Informer`.
    """

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 24,
        *,
        variates: int,
        marks: int,
        label_length: int = 48,
        dim: int = 512,
        depths: Sequence[int] = (3, 2, 1),
        decoder_depth: int = 1,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        dropout: float = 0.05,
        factor: int = 5,
        attention: Attention = "prob",
        calendar: Calendar = "continuous",
        activation: Activation = "gelu",
        distil: bool = True,
        mix: bool = True,
        padding: int = 0,
        out_variates: int | None = None,
        decoder_variates: int | None = None,
        always_draw: bool = False,
    ) -> None:
        super().__init__(depths=depths, stacked=True, **_alike(locals()))
