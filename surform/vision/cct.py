"""Compact transformers for images: CCT, CVT and ViT-Lite.

Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021 (arXiv 2104.05704);
official code SHI-Labs/Compact-Transformers@cd11f0912749. They differ in how an image becomes tokens
and in how tokens become logits; images of any height and width are served, in either order.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.layers.position_grid import resize_positions
from surform.layers.self_attention import AttentionKind
from surform.vision.compact_encoder import CompactEncoder, Positions

__all__ = ["CCT", "CVT", "ImageSize", "ViTLite"]

ImageSize = int | tuple[int, int]
_HIDDEN = 64  # channels between two convolutions


class ConvTokenizer(nn.Module):
    """Convolution, ReLU, max-pooling, several times: (b, c, h, w) -> (b, n, dim), row by row."""

    def __init__(
        self,
        in_channels: int,
        dim: int,
        layers: int,
        convolution: tuple[int, int, int],
        pooling: tuple[int, int, int],
    ) -> None:
        """convolution and pooling: kernel size, stride, padding."""
        super().__init__()
        size, stride, padding = convolution
        widths = [in_channels, *[_HIDDEN] * (layers - 1), dim]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, size, stride, padding, bias=False)
            for a, b in itertools.pairwise(widths)
        )
        self.pooling = pooling
        self._windows = (convolution, pooling) * layers
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Tokens along height and width of an image."""
        for window in self._windows:
            size = (_windows(size[0], *window), _windows(size[1], *window))
        return size

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        if not torch.compiler.is_compiling():  # pooling then works on whole registers of channels
            x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            # ReLU and maximum commute, and there is a quarter of the numbers behind the maximum
            x = F.relu(F.max_pool2d(layer(x), *self.pooling))
        return x.flatten(2).transpose(1, 2)


class PatchTokenizer(nn.Module):
    """A linear map of every patch: (b, c, h, w) -> (b, n, dim), row by row."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        at_least(1, patch_size=patch_size)
        self.patch_size = patch_size
        self.layers = nn.ModuleList([nn.Conv2d(in_channels, dim, patch_size, patch_size)])
        nn.init.kaiming_normal_(self.layers[0].weight)  # type: ignore[arg-type]

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Tokens along height and width of an image."""
        for length in size:
            if length % self.patch_size:
                raise ValueError(
                    f"images of {size[0]} x {size[1]} cannot be cut into patches of patch_size = "
                    f"{self.patch_size}: choose one that divides height and width"
                )
        return size[0] // self.patch_size, size[1] // self.patch_size

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        return self.layers[0](x).flatten(2).transpose(1, 2)


class _Compact(nn.Module):
    """A tokenizer, then `CompactEncoder`: images (b, c, h, w) -> logits (b, num_classes)."""

    tokenizer: ConvTokenizer | PatchTokenizer
    grid: tuple[int, int]
    arguments: dict[str, Any]

    def _build(
        self, tokenizer: ConvTokenizer | PatchTokenizer, image_size: ImageSize, **encoder: Any
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise ValueError(
                f"image_size is {image_size!r}, but must be a side, or (height, width)"
            )
        size = (size[0], size[1])
        at_least(1, image_size=size[0])
        at_least(1, image_size=size[1])
        self.tokenizer, self.image_size, self.grid = tokenizer, size, tokenizer.grid(size)
        _require_tokens(self.grid, size)
        self.encoder = CompactEncoder(tokens=math.prod(self.grid), **encoder)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of normalised images; without positions their size may be any.

        Raises:
            ValueError: images of another number of channels or of another size.
        """
        self._check(x)
        return self.encoder(self.tokenizer(x))

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b t d"]:
        """The tokens after the last norm; ViT-Lite's class token comes first."""
        self._check(x)
        return self.encoder.features(self.tokenizer(x))

    def adapted(self, state: dict[str, Tensor], source: nn.Module) -> dict[str, Tensor]:
        """Weights of a like network with its positions on this one's grid; sines are made anew."""
        name, grid, own = "encoder.positions", getattr(source, "grid", self.grid), self.encoder
        if name not in state or own.positions is None or grid == self.grid:
            return state
        if not isinstance(own.positions, nn.Parameter):
            return state | {name: own.positions}
        return state | {name: resize_positions(state[name], grid, self.grid, mode="bilinear")}

    def _check(self, x: Tensor) -> None:
        channels = self.arguments["in_channels"]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(
                f"images have shape {tuple(x.shape)}, but {type(self).__name__} takes (batch, "
                f"{channels}, height, width): in_channels is {channels}"
            )
        if self.encoder.positions is not None and tuple(x.shape[2:]) != self.image_size:
            raise ValueError(
                f"images are {x.shape[2]} x {x.shape[3]}, but {type(self).__name__} was built for "
                f"{self.image_size[0]} x {self.image_size[1]}: resize them, or build one with this "
                "image_size from its weights"
            )
        if not x.is_floating_point():
            raise ValueError(f"images are {x.dtype}, but must be normalised floats")
        if self.encoder.positions is None:
            size = (x.shape[2], x.shape[3])
            _require_tokens(self.tokenizer.grid(size), size)


class CCT(_Compact):
    """Compact Convolutional Transformer: convolutional tokens, sequence pooling.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704). CCT-7/3x1 is depth 7, kernel_size 3, conv_layers 1.

    Args:
        image_size: side, or (height, width), of the images [pixels].
        in_channels: of the images.
        num_classes: how many logits.
        conv_layers: convolutions of the tokenizer, each followed by ReLU and max-pooling.
        kernel_size: of these convolutions.
        stride: of these convolutions; None: max(1, kernel_size // 2 - 1), as published.
        padding: of these convolutions; None: max(1, kernel_size // 2), as published.
        pool_size, pool_stride, pool_padding: of the max-pooling.
        positions: "learnable", "sine" (a fixed table) or "none", which serves images of any size.
        legacy_sine: "sine" gives a learnable table, as the official factories do by oversight.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        image_size: ImageSize = 224,
        in_channels: int = 3,
        num_classes: int = 1000,
        dim: int = 384,
        depth: int = 14,
        heads: int = 6,
        mlp_ratio: float = 3.0,
        conv_layers: int = 2,
        kernel_size: int = 7,
        stride: int | None = None,
        padding: int | None = None,
        pool_size: int = 3,
        pool_stride: int = 2,
        pool_padding: int = 1,
        positions: Positions = "learnable",
        legacy_sine: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, conv_layers=conv_layers, kernel_size=kernel_size)
        stride = max(1, kernel_size // 2 - 1) if stride is None else stride
        padding = max(1, kernel_size // 2) if padding is None else padding
        at_least(1, dim=dim, stride=stride, pool_size=pool_size, pool_stride=pool_stride)
        at_least(0, padding=padding, pool_padding=pool_padding)
        if pool_padding > pool_size // 2:
            raise ValueError(
                f"pool_padding is {pool_padding}, but at most half of pool_size = {pool_size}"
            )
        convolution, pooling = (
            (kernel_size, stride, padding),
            (pool_size, pool_stride, pool_padding),
        )
        self._build(
            ConvTokenizer(in_channels, dim, conv_layers, convolution, pooling),
            image_size,
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
            positions=positions,
            legacy_sine=legacy_sine,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path,
            attention=attention,
            attention_options=attention_options,
        )


class CVT(_Compact):
    """Compact Vision Transformer: patches as tokens, sequence pooling.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704). CVT-7/4 is depth 7, patch_size 4.

    Args:
        image_size: side, or (height, width), of the images [pixels].
        in_channels: of the images.
        num_classes: how many logits.
        patch_size: side of a patch [pixels]; divides height and width.
        positions: "learnable", "sine" (a fixed table) or "none", which serves images of any size.
        legacy_sine: "sine" gives a learnable table, as the official factories do by oversight.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        image_size: ImageSize = 32,
        in_channels: int = 3,
        num_classes: int = 10,
        dim: int = 256,
        depth: int = 7,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        patch_size: int = 4,
        positions: Positions = "learnable",
        legacy_sine: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, dim=dim)
        self._build(
            PatchTokenizer(in_channels, dim, patch_size),
            image_size,
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
            positions=positions,
            legacy_sine=legacy_sine,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path,
            attention=attention,
            attention_options=attention_options,
        )


class ViTLite(_Compact):
    """ViT-Lite: patches as tokens and a class token.

    Hassani et al., "Escaping the Big Data Paradigm with Compact Transformers", 2021
    (arXiv 2104.05704). ViT-Lite-7/4 is depth 7, patch_size 4.

    Args:
        image_size: side, or (height, width), of the images [pixels].
        in_channels: of the images.
        num_classes: how many logits.
        patch_size: side of a patch [pixels]; divides height and width.
        positions: "learnable", "sine" (a fixed table) or "none", which serves images of any size.
        dropout: of tokens, projections and feed-forward blocks.
        attention_dropout: of the attention's weights.
        drop_path: share of the samples that skip the last block's branches in training; it grows
            linearly from 0 in the first.
        attention: kind of attention, by name; see docs/attention.md.
        attention_options: options of that kind.
    """

    @record_arguments
    def __init__(
        self,
        image_size: ImageSize = 32,
        in_channels: int = 3,
        num_classes: int = 10,
        dim: int = 256,
        depth: int = 7,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        patch_size: int = 4,
        positions: Positions = "learnable",
        dropout: float = 0.0,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        attention: AttentionKind = "softmax",
        attention_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, dim=dim)
        self._build(
            PatchTokenizer(in_channels, dim, patch_size),
            image_size,
            class_token=True,
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
            positions=positions,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path,
            attention=attention,
            attention_options=attention_options,
        )


def _require_tokens(grid: tuple[int, int], size: tuple[int, int]) -> None:
    if min(grid) < 1:
        raise ValueError(
            f"images of {size[0]} x {size[1]} leave no token: take larger ones, smaller windows or "
            "fewer of them"
        )


def _windows(length: int, size: int, stride: int, padding: int) -> int:
    """How many windows lie along an axis."""
    return max(0, length + 2 * padding - size) // stride + (length + 2 * padding >= size)
