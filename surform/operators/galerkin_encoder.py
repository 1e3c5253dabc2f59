"""Encoder of the Galerkin Transformer: attention, feed-forward, residuals, post-norm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of
from surform.operators.galerkin_attention import ATTENTION_KINDS, GalerkinAttention

__all__ = ["ACTIVATIONS", "Encoder", "EncoderLayer", "FeedForward"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(
        inplace=True
    ),  # its input, a Linear's output, is needed by nothing else
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


class FeedForward(nn.Module):
    """Linear, activation, dropout, [batch norm over the channels], Linear."""

    def __init__(
        self, dim: int, hidden: int, activation: nn.Module, dropout: float, batch_norm: bool
    ) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.activation, self.dropout = activation, nn.Dropout(dropout)
        self.batch_norm = nn.BatchNorm1d(hidden) if batch_norm else None

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x = self.dropout(self.activation(self.linear1(x)))
        if self.batch_norm is not None:
            x = self.batch_norm(x.transpose(1, 2)).transpose(1, 2)
        return self.linear2(x)


class EncoderLayer(nn.Module):
    """x <- x ± attention(x), [norm]; x <- x + ffn(x), [norm]."""

    def __init__(
        self,
        dim: int,
        attend: GalerkinAttention,
        ffn: FeedForward,
        *,
        subtract: bool,
        layer_norm: bool,
        norm_eps: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.ffn, self.subtract = attend, ffn, subtract
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps) if layer_norm else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: Float[Tensor, "b n p"] | None = None,
        weight: Tensor | None = None,
        score_mask: Tensor | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Same arguments as the attention's."""
        mixed = self.dropout(self.attention(x, positions, weight, score_mask))
        x = self.norm1(x - mixed if self.subtract else x + mixed)
        return self.norm2(x + self.dropout(self.ffn(x)))


class Encoder(nn.Module):
    """A stack of encoder layers that start as copies of one another, as the published one does.

    Arguments are those of the models, see `surform.operators.galerkin`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        *,
        attention: str,
        position_channels: int,
        head_norm: str | None,
        layer_norm: bool,
        norm_eps: float,
        batch_norm: bool,
        residual: str,
        activation: str,
        encoder_dropout: float,
        ffn_dropout: float,
        score_dropout: float,
        legacy_score_dropout: bool,
        init_gain: float,
        init_diagonal: float,
        symmetric_init: bool,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, depth=depth, heads=heads)
        at_least(0, position_channels=position_channels)
        fraction(
            encoder_dropout=encoder_dropout, ffn_dropout=ffn_dropout, score_dropout=score_dropout
        )
        one_of("attention", attention, ATTENTION_KINDS)
        one_of("head_norm", head_norm, ("layer", "instance", None))
        one_of("residual", residual, ("add", "minus"))
        one_of("activation", activation, tuple(ACTIVATIONS))
        if dim % heads:
            raise ValueError(f"dim {dim} is not divisible by heads {heads}")
        if mlp_ratio <= 0 or norm_eps <= 0:
            raise ValueError(f"mlp_ratio {mlp_ratio} and norm_eps {norm_eps} must be positive")
        if round(dim * mlp_ratio) < 1:
            raise ValueError(f"mlp_ratio {mlp_ratio} of dim {dim} leaves no hidden channel")
        attend = GalerkinAttention(
            dim,
            heads,
            kind=attention,
            position_channels=position_channels,
            head_norm=head_norm,
            norm_eps=norm_eps,
            score_dropout=score_dropout,
            legacy_score_dropout=legacy_score_dropout,
        )
        attend.reset_parameters(init_gain, init_diagonal, symmetric_init)
        ffn = FeedForward(
            dim, round(dim * mlp_ratio), ACTIVATIONS[activation](), ffn_dropout, batch_norm
        )
        layer = EncoderLayer(
            dim,
            attend,
            ffn,
            subtract=residual == "minus",
            layer_norm=layer_norm,
            norm_eps=norm_eps,
            dropout=encoder_dropout,
        )
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(depth))

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        positions: Float[Tensor, "b n p"] | None = None,
        weight: Tensor | None = None,
        score_masks: Sequence[Tensor | None] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """score_masks: one factor of the attention scores per layer, for replays."""
        masks = [None] * len(self.layers) if score_masks is None else score_masks
        if len(masks) != len(self.layers):
            raise ValueError(f"{len(masks)} score_masks for {len(self.layers)} encoder layers")
        for layer, mask in zip(self.layers, masks, strict=True):
            x = layer(x, positions, weight, mask)
        return x
