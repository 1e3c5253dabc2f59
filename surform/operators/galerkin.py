"""Galerkin and Fourier Transformer for operators on 1-D and 2-D grids (Cao, 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of
from surform.operators.galerkin_decoders import build_decoder
from surform.operators.galerkin_encoder import Encoder
from surform.operators.galerkin_positions import check_positions, grid_positions
from surform.operators.galerkin_scalers import (
    ConvDownscaler,
    ConvUpscaler,
    InterpDownscaler,
    InterpUpscaler,
)

__all__ = ["GalerkinTransformer1d", "GalerkinTransformer2d"]

Attention = Literal["galerkin", "linear", "fourier", "softmax"]
Decoder = Literal["spectral", "pointwise"]
Scaler = Literal["interp", "conv", "none"]
Size = tuple[int, int]


class GalerkinTransformer1d(nn.Module):
    """Maps functions on an interval to functions on it; the defaults are published for Burgers.

    Cao, "Choose a Transformer: Fourier or Galerkin" (2021), arXiv 2105.14995, section 4.1; official
    code scaomath/galerkin-transformer@f9e7d6abc24e.

    Deviations, corrected here and reproduced by an option: the dropout of the attention scores,
    which the official code keeps on at p = 0.5 even in eval mode, is off (`legacy_score_dropout`);
    `norm_eps` and all dropouts are used as given.

    Args:
        mlp_ratio: width of the feed-forward over `dim`.
        attention: "galerkin", "linear", "fourier" or "softmax"; all but the last cost O(n).
        position_channels: coordinates that every head sees (0: none, and no output projection).
        head_norm: norm per head of (k, v), or of (k, q) with "fourier" and "softmax": "layer",
            "instance" (over the nodes) or None.
        layer_norm: norms after the residuals. batch_norm: inside the feed-forward.
        norm_eps: added to the variances of head and layer norms.
        residual: sign of the attention's branch, "add" or "minus".
        activation: of the feed-forward.
        skip_encoder: add the embedding to the encoder's output.
        decoder: "spectral" (convolutions on `modes` Fourier modes) or "pointwise".
        decoder_dim: channels of the spectral convolutions.
        decoder_depth: spectral convolutions, or hidden layers of the pointwise decoder.
        modes: lowest Fourier modes that the convolutions keep.
        grid_channels: coordinates that the decoder sees (0: none).
        decoder_activation: of the decoder; last_activation: after the last convolution, too.
        dropout: before the decoder; encoder_dropout: of both residual branches; ffn_dropout:
            inside the feed-forward; decoder_dropout: inside the decoder; score_dropout: of the
            attention scores in training.
        legacy_score_dropout: drop half of the attention scores, in eval mode, too, as published.
        init_gain, init_diagonal, symmetric_init: q, k, v start Xavier-uniform with this gain plus
            a multiple of the identity, plus their transpose when symmetric.
    """

    time_window: ClassVar[bool] = False

    @record_arguments
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 96,
        depth: int = 4,
        heads: int = 1,
        mlp_ratio: float = 2.0,
        attention: Attention = "fourier",
        position_channels: int = 1,
        head_norm: Literal["layer", "instance"] | None = "layer",
        layer_norm: bool = False,
        norm_eps: float = 1e-5,
        batch_norm: bool = False,
        residual: Literal["add", "minus"] = "add",
        activation: Literal["relu", "silu", "gelu"] = "relu",
        skip_encoder: bool = False,
        decoder: Decoder = "spectral",
        decoder_dim: int = 48,
        decoder_depth: int = 2,
        modes: int = 16,
        grid_channels: int = 0,
        decoder_activation: Literal["relu", "silu"] = "silu",
        last_activation: bool = True,
        dropout: float = 0.0,
        encoder_dropout: float = 0.0,
        ffn_dropout: float = 0.0,
        decoder_dropout: float = 0.0,
        score_dropout: float = 0.0,
        legacy_score_dropout: bool = False,
        init_gain: float = 1e-3,
        init_diagonal: float = 1e-2,
        symmetric_init: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels)
        at_least(0, grid_channels=grid_channels)
        fraction(dropout=dropout)
        self.in_channels, self.position_channels = in_channels, position_channels
        self.grid_channels, self.skip_encoder = grid_channels, skip_encoder
        self.embed = nn.Linear(in_channels, dim)
        self.encoder = Encoder(
            dim,
            depth,
            heads,
            mlp_ratio,
            attention=attention,
            position_channels=position_channels,
            head_norm=head_norm,
            layer_norm=layer_norm,
            norm_eps=norm_eps,
            batch_norm=batch_norm,
            residual=residual,
            activation=activation,
            encoder_dropout=encoder_dropout,
            ffn_dropout=ffn_dropout,
            score_dropout=score_dropout,
            legacy_score_dropout=legacy_score_dropout,
            init_gain=init_gain,
            init_diagonal=init_diagonal,
            symmetric_init=symmetric_init,
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = build_decoder(
            decoder,
            dim,
            out_channels,
            axes=1,
            width=decoder_dim,
            modes=modes,
            depth=decoder_depth,
            grid_channels=grid_channels,
            activation=decoder_activation,
            last_activation=last_activation,
            dropout=decoder_dropout,
        )

    def forward(
        self,
        u: Float[Tensor, "b n c"],
        coordinates: Sequence[Tensor] | None = None,
        *,
        positions: Float[Tensor, "b n p"] | None = None,
        grid: Float[Tensor, "b n g"] | None = None,
        weight: Tensor | None = None,
        score_masks: Sequence[Tensor | None] | None = None,
        denormalize: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "b n o"]:
        """The output function on the nodes of the input function.

        Args:
            coordinates: one tensor (n,), in any unit: scaled to [0, 1], both ends included.
            positions, grid: instead, what the heads and what the decoder see, taken as they are.
            weight: factors of the inputs of q and k (lumped mass), broadcastable to (b, n, 1).
            score_masks: factors of the attention scores, one tensor per layer.
            denormalize: applied to the result.
        """
        _check_input(u, 3, self.in_channels)
        if self.position_channels and positions is None:
            positions = grid_positions(coordinates, "positions", u, (u.shape[1],))
        if self.grid_channels and grid is None:
            grid = grid_positions(coordinates, "grid", u, (u.shape[1],))
        check_positions("positions", positions, u.shape[:2], self.position_channels)
        check_positions("grid", grid, u.shape[:2], self.grid_channels)
        embedded = self.embed(u)
        x = self.encoder(embedded, positions, weight, score_masks)
        x = self.decoder(self.dropout(x + embedded if self.skip_encoder else x), grid)
        return x if denormalize is None else denormalize(x)


class GalerkinTransformer2d(nn.Module):
    """Maps fields on a rectangle to fields on it; the defaults are published for Darcy flow.

    Cao, "Choose a Transformer: Fourier or Galerkin" (2021), arXiv 2105.14995, sections 4.2 and 4.3;
    official code scaomath/galerkin-transformer@f9e7d6abc24e. Attention runs on a coarse grid
    between two convolutional scalers.

    Deviations: as in the 1-D model; grids need not be square; the official 2-D model drops the
    options for the head norm, the residual's sign and the activation without saying so.

    Args:
        position_channels: 2 or 0, whether every head sees the coordinates; with 0 there is no
            output projection.
        coarse_size: nodes per side (or a pair) where attention runs; the scalers find the sizes in
            between by the published rule. down_sizes, up_sizes: these sizes by hand instead: two
            factors such as 0.5 (only down), two numbers of nodes per side, or two pairs of them.
        downscaler, upscaler: "interp", "conv" (the sizes follow from its strides), or "none":
            attention on the whole grid, or an output on the coarse one.
        downscaler_activation, upscaler_activation: of the scalers; the convolutions of a "conv"
            downscaler have silu all the same.
        modes: lowest Fourier modes that the convolutions keep along each axis.
        grid_channels: 2 or 0, whether the decoder sees the coordinates.
        boundary: "dirichlet" sets the one-cell rim to zero, after `denormalize`; "free" does not.
        dropout: before the encoder and before the decoder.
        downscaler_dropout, upscaler_dropout: after convolutions of the scalers.
        others: as in `GalerkinTransformer1d`.
    """

    time_window: ClassVar[bool] = False

    @record_arguments
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        attention: Attention = "galerkin",
        position_channels: int = 2,
        head_norm: Literal["layer", "instance"] | None = "layer",
        layer_norm: bool = False,
        norm_eps: float = 1e-5,
        batch_norm: bool = False,
        residual: Literal["add", "minus"] = "add",
        activation: Literal["relu", "silu", "gelu"] = "relu",
        downscaler: Scaler = "interp",
        upscaler: Scaler = "interp",
        coarse_size: int | Size | None = 43,
        down_sizes: Size | tuple[float, float] | tuple[Size, Size] | None = None,
        up_sizes: Size | tuple[Size, Size] | None = None,
        downscaler_activation: Literal["relu", "silu"] = "relu",
        upscaler_activation: Literal["relu", "silu"] = "silu",
        decoder: Decoder = "spectral",
        decoder_dim: int = 32,
        decoder_depth: int = 2,
        modes: int = 12,
        grid_channels: int = 2,
        decoder_activation: Literal["relu", "silu"] = "silu",
        last_activation: bool = True,
        boundary: Literal["free", "dirichlet"] = "free",
        dropout: float = 0.0,
        encoder_dropout: float = 0.0,
        ffn_dropout: float = 0.0,
        decoder_dropout: float = 0.0,
        downscaler_dropout: float = 0.0,
        upscaler_dropout: float = 0.0,
        score_dropout: float = 0.0,
        legacy_score_dropout: bool = False,
        init_gain: float = 1e-2,
        init_diagonal: float = 1e-2,
        symmetric_init: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels)
        fraction(dropout=dropout)
        one_of("grid_channels", grid_channels, (0, 2))
        one_of("position_channels", position_channels, (0, 2))
        one_of("boundary", boundary, ("free", "dirichlet"))
        one_of("downscaler", downscaler, ("interp", "conv", "none"))
        one_of("upscaler", upscaler, ("interp", "conv", "none"))
        self.in_channels, self.position_channels = in_channels, position_channels
        self.grid_channels, self.boundary = grid_channels, boundary
        self.lift = nn.Linear(in_channels + 2, dim) if downscaler == "none" else None
        self.downscaler: nn.Module | None = None
        if downscaler == "interp":
            self.downscaler = InterpDownscaler(
                in_channels,
                dim,
                coarse_size=coarse_size if down_sizes is None else None,
                sizes=down_sizes,
                activation=downscaler_activation,
                dropout=downscaler_dropout,
            )
        elif downscaler == "conv":
            self.downscaler = ConvDownscaler(
                in_channels, dim, activation=downscaler_activation, dropout=downscaler_dropout
            )
        self.encoder = Encoder(
            dim,
            depth,
            heads,
            mlp_ratio,
            attention=attention,
            position_channels=position_channels,
            head_norm=head_norm,
            layer_norm=layer_norm,
            norm_eps=norm_eps,
            batch_norm=batch_norm,
            residual=residual,
            activation=activation,
            encoder_dropout=encoder_dropout,
            ffn_dropout=ffn_dropout,
            score_dropout=score_dropout,
            legacy_score_dropout=legacy_score_dropout,
            init_gain=init_gain,
            init_diagonal=init_diagonal,
            symmetric_init=symmetric_init,
        )
        self.upscaler: nn.Module | None = None
        if upscaler == "interp":
            self.upscaler = InterpUpscaler(
                dim, dim, sizes=up_sizes, activation=upscaler_activation, dropout=upscaler_dropout
            )
        elif upscaler == "conv":
            self.upscaler = ConvUpscaler(
                dim, dim, activation=upscaler_activation, dropout=upscaler_dropout
            )
        self.dropout = nn.Dropout(dropout)
        self.decoder = build_decoder(
            decoder,
            dim,
            out_channels,
            axes=2,
            width=decoder_dim,
            modes=modes,
            depth=decoder_depth,
            grid_channels=grid_channels,
            activation=decoder_activation,
            last_activation=last_activation,
            dropout=decoder_dropout,
        )

    def forward(
        self,
        u: Float[Tensor, "b n0 n1 c"],
        coordinates: Sequence[Tensor] | None = None,
        *,
        positions: Float[Tensor, "b t 2"] | None = None,
        grid: Float[Tensor, "b m0 m1 2"] | None = None,
        weight: Tensor | None = None,
        score_masks: Sequence[Tensor | None] | None = None,
        denormalize: Callable[[Tensor], Tensor] | None = None,
        boundary_value: Tensor | None = None,
    ) -> Float[Tensor, "b m0 m1 o"]:
        """The output field on the grid of the input field (on the coarse grid: upscaler "none").

        Args:
            coordinates: one tensor (n_i,) per axis, in any unit: scaled to [0, 1].
            positions: instead, coordinates of the t coarse nodes in row-major order, as they are;
                the first one runs along the columns (the last axis), the second along the rows.
            grid: instead, those of the output nodes.
            weight: factors of the inputs of q and k, broadcastable to (b, t, 1).
            score_masks: factors of the attention scores, one tensor per layer.
            denormalize: applied to the result before the boundary condition.
            boundary_value: added after the rim was set to zero.
        """
        _check_input(u, 4, self.in_channels)
        fine = (u.shape[1], u.shape[2])
        if self.downscaler is not None:
            x = self.downscaler(u)
        coarse = fine if self.downscaler is None else (x.shape[1], x.shape[2])
        if positions is None and (self.position_channels or self.lift is not None):
            positions = grid_positions(coordinates, "positions", u, coarse).flatten(1, 2)
        wanted = 2 if self.lift is not None else self.position_channels
        check_positions("positions", positions, (len(u), coarse[0] * coarse[1]), wanted)
        if self.lift is not None and positions is not None:
            x = self.lift(torch.cat((u, positions.unflatten(1, coarse).to(u.dtype)), dim=-1))
        x = self.encoder(self.dropout(x.flatten(1, 2)), positions, weight, score_masks)
        x = x.unflatten(1, coarse)
        if self.upscaler is not None:
            x = self.upscaler(x, fine)
        if self.grid_channels and grid is None:
            grid = grid_positions(coordinates, "grid", u, (x.shape[1], x.shape[2]))
        check_positions("grid", grid, x.shape[:3], self.grid_channels)
        x = self.decoder(self.dropout(x), grid)
        x = x if denormalize is None else denormalize(x)
        if self.boundary == "dirichlet":
            x = F.pad(x[:, 1:-1, 1:-1], (0, 0, 1, 1, 1, 1))
            x = x if boundary_value is None else x + boundary_value
        return x


def _check_input(u: Tensor, ndim: int, channels: int) -> None:
    if u.ndim != ndim or u.shape[-1] != channels:
        wanted = "(batch, n, channels)" if ndim == 3 else "(batch, n0, n1, channels)"
        raise ValueError(f"u has shape {tuple(u.shape)}, but must be {wanted}, channels={channels}")
