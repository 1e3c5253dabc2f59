"""Convolutional scalers of the 2-D Galerkin Transformer: from the grid to the tokens and back.

All modules take and give channels-last grids, (b, n0, n1, c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of

__all__ = [
    "ConvDownscaler",
    "ConvUpscaler",
    "InterpDownscaler",
    "InterpUpscaler",
    "downscale_sizes",
    "scale_factor",
    "upscale_sizes",
]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}
Size = tuple[int, int]
Scale = float | Size


def scale_factor(fine: int, coarse: int) -> float:
    """The published factor of each of the two interpolations from `fine` nodes to `coarse`.

    About sqrt(coarse / fine), rounded up generously to a multiple of 0.005.
    """
    if not 1 <= coarse <= fine:
        raise ValueError(f"coarse size {coarse} must lie between 1 and the grid's size {fine}")
    factor = round(math.sqrt(coarse / fine), 4)
    if round(factor * 1e4) % 10 < 5:
        factor = round(factor, 3) + 0.005
    return min(round(round(factor / 0.005) * 0.005, 3), 1.0)


def downscale_sizes(fine: int, coarse: int) -> tuple[int, int]:
    """Sizes after the first and the second interpolation; the second is exactly `coarse`."""
    return max(math.floor(fine * scale_factor(fine, coarse)), coarse), coarse


def upscale_sizes(coarse: int, fine: int) -> tuple[int, int]:
    """Sizes after the two interpolations of the way back; the second is exactly `fine`."""
    middle = round(fine * scale_factor(fine, coarse)) - 1
    return min(max(middle, coarse), fine), fine


class ConvBlock(nn.Module):
    """3 x 3 convolution without bias, dropout, activation; channels first."""

    def __init__(
        self, in_channels: int, out_channels: int, activation: str, dropout: float, padding: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=False)
        self.dropout, self.activation = nn.Dropout(dropout), _ACTIVATIONS[activation]()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return self.activation(self.dropout(self.conv(x)))


def _chain(
    in_channels: int, dim: int, activation: str, dropout: float, paddings: Sequence[int]
) -> nn.ModuleList:
    """in -> dim, then dim -> c0 -> c1 -> c2 with c0 + c1 + c2 = dim."""
    third = dim // 3
    widths = (in_channels, dim, third, third, dim - 2 * third)
    return nn.ModuleList(
        ConvBlock(widths[i], widths[i + 1], activation, dropout, paddings[i]) for i in range(4)
    )


def _concatenated(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    outputs = []
    for block in list(blocks)[1:]:
        x = block(x)
        outputs.append(x)
    return torch.cat(outputs, dim=1)


def _interpolate(x: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    if tuple(x.shape[2:]) == size:  # corners are aligned: the same grid gives the same values
        return x
    return F.interpolate(x, size=size, mode=mode, align_corners=True)


class InterpDownscaler(nn.Module):
    """Convolution, bilinear interpolation, three chained convolutions side by side, interpolation.

    The activation runs again after each interpolation, as in the published model.

    Args: coarse_size: nodes per side of the result, with the published size in between; or
        sizes: two factors with a decimal point (applied one after the other, rounded down) or two
        sizes, numbers of nodes per side or pairs of them.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        coarse_size: int | Size | None = None,
        sizes: Sequence[float | int | Sequence[int]] | None = None,
        activation: str = "silu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check(activation, dropout, in_channels=in_channels)
        at_least(3, dim=dim)
        if (coarse_size is None) == (sizes is None):
            raise ValueError("give the downscaler either coarse_size or down_sizes, not both")
        self.coarse_size = None if coarse_size is None else _pair("coarse_size", coarse_size)
        self.sizes = _two_sizes(sizes)
        self.convs = _chain(in_channels, dim, activation, dropout, (1, 1, 1, 1))
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Float[Tensor, "b n0 n1 c"]) -> Float[Tensor, "b m0 m1 d"]:
        first, second = self._own_sizes(x.shape[1], x.shape[2])
        x = self.activation(_interpolate(self.convs[0](x.permute(0, 3, 1, 2)), first))
        x = self.activation(_interpolate(_concatenated(self.convs, x), second))
        return x.permute(0, 2, 3, 1)

    def _own_sizes(self, n0: int, n1: int) -> tuple[Size, Size]:
        if self.sizes is not None:
            first = _scaled((n0, n1), self.sizes[0])
            return first, _scaled(first, self.sizes[1])
        coarse = self.coarse_size or (n0, n1)
        rows, columns = downscale_sizes(n0, coarse[0]), downscale_sizes(n1, coarse[1])
        return (rows[0], columns[0]), (rows[1], columns[1])


class InterpUpscaler(nn.Module):
    """Interpolation, convolution, dropout, activation once more, interpolation.

    Args: sizes: two numbers of nodes per side, or pairs of them; None follows the grid that is
        asked for at each call.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        sizes: Sequence[int | Sequence[int]] | None = None,
        activation: str = "silu",
        dropout: float = 0.1,
        mode: str = "bilinear",
    ) -> None:
        super().__init__()
        _check(activation, dropout, in_channels=in_channels, dim=dim)
        one_of("interpolation", mode, ("bilinear", "bicubic"))
        if any(isinstance(size, float) for size in sizes or ()):
            raise ValueError(f"up_sizes is {sizes!r}, but must be two sizes or pairs of nodes")
        self.sizes = cast(tuple[Size, Size] | None, _two_sizes(sizes))
        self.block = ConvBlock(in_channels, dim, activation, dropout)
        self.dropout, self.mode = nn.Dropout(dropout), mode

    def forward(
        self, x: Float[Tensor, "b m0 m1 c"], target: Size | None = None
    ) -> Float[Tensor, "b n0 n1 d"]:
        """target: nodes of the result; only used when the sizes were left open."""
        first, second = self.sizes or self._own_sizes((x.shape[1], x.shape[2]), target)
        x = self.block(_interpolate(x.permute(0, 3, 1, 2), first, self.mode))
        x = _interpolate(self.block.activation(self.dropout(x)), second, self.mode)
        return x.permute(0, 2, 3, 1)

    @staticmethod
    def _own_sizes(coarse: Size, target: Size | None) -> tuple[Size, Size]:
        if target is None:
            raise ValueError("an upscaler without up_sizes must be told the target grid")
        rows, columns = upscale_sizes(coarse[0], target[0]), upscale_sizes(coarse[1], target[1])
        return (rows[0], columns[0]), (rows[1], columns[1])


class ConvDownscaler(nn.Module):
    """Two stages of convolution, pooling by 2, three chained convolutions side by side, pooling.

    The convolutions use SiLU whatever `activation` (of the poolings) says, and the second stage
    pads by `padding`, as published: about a quarter of a quarter, plus a rim.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        padding: int = 5,
        activation: str = "silu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check(activation, dropout, in_channels=in_channels)
        at_least(3, dim=dim)
        at_least(0, padding=padding)
        second = (padding, max(padding // 2, 1), max(padding // 4, 1), 1)
        self.stages = nn.ModuleList(
            (
                _chain(in_channels, dim, "silu", dropout, (1, 1, 1, 1)),
                _chain(dim, dim, "silu", dropout, second),
            )
        )
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Float[Tensor, "b n0 n1 c"]) -> Float[Tensor, "b m0 m1 d"]:
        x = x.permute(0, 3, 1, 2)
        for stage in self.stages:
            blocks = cast(nn.ModuleList, stage)
            x = self.activation(F.avg_pool2d(blocks[0](x), 2))
            x = self.activation(F.avg_pool2d(_concatenated(blocks, x), 2))
        return x.permute(0, 2, 3, 1)


class ConvUpscaler(nn.Module):
    """Four transposed convolutions of stride 2; the size of the result follows from them."""

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        hidden: int | None = None,
        padding: int = 2,
        output_padding: int = 0,
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        hidden = in_channels if hidden is None else hidden
        _check(activation, dropout, in_channels=in_channels, dim=dim, hidden=hidden)
        if in_channels != dim:
            raise ValueError(f"both stages take {in_channels} channels: dim {dim} must equal that")
        paddings = (padding, max(padding // 2, 1), 2 * padding, max(padding, 1))
        widths = ((in_channels, hidden), (hidden, dim)) * 2
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(*width, 3, stride=2, padding=pad, output_padding=output_padding)
            for width, pad in zip(widths, paddings, strict=True)
        )
        self.activation, self.dropout = _ACTIVATIONS[activation](), nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b m0 m1 c"], target: Size | None = None
    ) -> Float[Tensor, "b n0 n1 d"]:
        """target: not used, the sizes follow from the convolutions."""
        x = x.permute(0, 3, 1, 2)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = self.activation(x if i % 2 else self.dropout(x))
        return x.permute(0, 2, 3, 1)


def _check(activation: str, dropout: float, **counts: int) -> None:
    at_least(1, **counts)
    fraction(scaler_dropout=dropout)
    one_of("scaler activation", activation, tuple(_ACTIVATIONS))


def _pair(name: str, value: int | Sequence[int]) -> Size:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{name} is {value!r}, but must be one number or a pair")
    at_least(1, **{name: min(pair)})
    return pair[0], pair[1]


def _two_sizes(sizes: Sequence[Scale | Sequence[int]] | None) -> tuple[Scale, Scale] | None:
    if sizes is None:
        return None
    if len(sizes) != 2 or not all(isinstance(one, (float, int, Sequence)) for one in sizes):
        raise ValueError(f"scaler sizes are {sizes!r}, but must be two factors or two sizes")
    first, second = (x if isinstance(x, float) else _pair("scaler size", x) for x in sizes)
    return first, second


def _scaled(size: Size, scale: Scale) -> Size:
    if isinstance(scale, tuple):
        return scale
    scaled = math.floor(size[0] * scale), math.floor(size[1] * scale)
    if min(scaled) < 1:
        raise ValueError(f"scaler factor {scale} leaves no node of the grid {size}")
    return scaled
