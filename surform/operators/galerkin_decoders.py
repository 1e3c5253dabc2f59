"""Decoders of the Galerkin Transformer: pointwise, or spectral convolutions on a few modes."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of
from surform.operators.galerkin_spectral import SpectralConv1d, SpectralConv2d

__all__ = ["PointwiseDecoder", "SpectralDecoder", "build_decoder"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class PointwiseDecoder(nn.Module):
    """[Linear of (features, grid)], `depth` times Linear + activation + dropout, Linear."""

    def __init__(
        self,
        dim: int,
        out_channels: int,
        *,
        depth: int,
        grid_channels: int,
        activation: str,
        dropout: float,
        init_gain: float = 0.0,
    ) -> None:
        super().__init__()
        _check(activation, dropout, decoder_depth=depth, out_channels=out_channels)
        self.grid = nn.Linear(dim + grid_channels, dim) if grid_channels else None
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))
        self.activation, self.dropout = _ACTIVATIONS[activation](), nn.Dropout(dropout)
        self.out = nn.Linear(dim, out_channels)
        for linear in self.modules() if init_gain > 0 else ():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight, gain=init_gain)
                nn.init.zeros_(linear.bias)

    def forward(
        self, x: Float[Tensor, "b *grid c"], grid: Float[Tensor, "b *grid g"] | None = None
    ) -> Float[Tensor, "b *grid o"]:
        """grid: coordinates of the nodes; needed when built with grid_channels."""
        x = _with_grid(self.grid, x, grid)
        for layer in self.layers:
            x = self.dropout(self.activation(layer(x)))
        return self.out(x)


class SpectralDecoder(nn.Module):
    """[Linear of (features, grid)], spectral convolutions, then Linear + activation + Linear.

    Args: axes 1 or 2; width: channels of the convolutions; grid_width: of the first Linear;
        hidden: of the last two; last_activation False leaves the last convolution linear.
    """

    def __init__(
        self,
        dim: int,
        out_channels: int,
        *,
        axes: int,
        width: int,
        grid_width: int,
        hidden: int,
        modes: int,
        depth: int,
        grid_channels: int,
        activation: str,
        last_activation: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        _check(
            activation,
            dropout,
            decoder_dim=width,
            decoder_depth=depth,
            modes=modes,
            out_channels=out_channels,
        )
        conv = {1: SpectralConv1d, 2: SpectralConv2d}[axes]
        self.grid = nn.Linear(dim + grid_channels, grid_width) if grid_channels else None
        first = grid_width if grid_channels else dim
        self.convs = nn.ModuleList(
            conv(width if i else first, width, modes, dropout) for i in range(depth)
        )
        self.activation, self.last_activation = _ACTIVATIONS[activation](), last_activation
        self.hidden, self.head = nn.Linear(width, hidden), nn.Linear(hidden, out_channels)

    def forward(
        self, x: Float[Tensor, "b *grid c"], grid: Float[Tensor, "b *grid g"] | None = None
    ) -> Float[Tensor, "b *grid o"]:
        """grid: coordinates of the nodes; needed when built with grid_channels."""
        x = _with_grid(self.grid, x, grid)
        basis = cast(SpectralConv1d, self.convs[0]).basis(x)
        last = len(self.convs) - 1
        for i, conv in enumerate(self.convs):
            x = conv(x, basis)
            if i < last or self.last_activation:
                x = self.activation(x)
        return self.head(self.activation(self.hidden(x)))


def build_decoder(
    kind: str,
    dim: int,
    out_channels: int,
    *,
    axes: int,
    width: int,
    modes: int,
    depth: int,
    grid_channels: int,
    activation: str,
    last_activation: bool,
    dropout: float,
) -> PointwiseDecoder | SpectralDecoder:
    """The decoder of the 1-D or the 2-D model with its published inner sizes."""
    one_of("decoder", kind, ("spectral", "pointwise"))
    if kind == "pointwise":
        return PointwiseDecoder(
            dim,
            out_channels,
            depth=depth,
            grid_channels=grid_channels,
            activation=activation,
            dropout=dropout,
            init_gain=1e-2 if axes == 1 else 0.0,
        )
    return SpectralDecoder(
        dim,
        out_channels,
        axes=axes,
        width=width,
        grid_width=dim if axes == 1 else width,
        hidden=width if axes == 1 else 4 * width,
        modes=modes,
        depth=depth,
        grid_channels=grid_channels,
        activation=activation,
        last_activation=last_activation,
        dropout=dropout,
    )


def _with_grid(linear: nn.Linear | None, x: Tensor, grid: Tensor | None) -> Tensor:
    if linear is None:
        return x
    if grid is None:
        raise ValueError("this decoder was built with grid_channels: it needs the coordinates")
    return linear(torch.cat((x, grid.to(x.dtype)), dim=-1))


def _check(activation: str, dropout: float, **counts: int) -> None:
    at_least(1, **counts)
    fraction(decoder_dropout=dropout)
    one_of("decoder_activation", activation, tuple(_ACTIVATIONS))
