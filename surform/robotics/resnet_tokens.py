"""Tokens of camera images: a ResNet with group norm, told an instruction if wanted; or patches.

He et al., "Deep Residual Learning for Image Recognition", 2016 (arXiv 1512.03385); Perez et al.,
"FiLM: Visual Reasoning with a General Conditioning Layer", 2018 (arXiv 1709.07871).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, one_of
from surform.registry import import_object
from surform.robotics.film import FilmMaps, Modulate

__all__ = ["SIZES", "PatchTokens", "ResNetTokens"]

SIZES = (18, 26, 34, 50)
_SMALLEST = 32  # pixels: the last map then has one cell


class ResNetTokens(nn.Module):
    """A ResNet with group norms: (b, c, h, w) -> (b, tokens, width), row by row.

    He et al., "Deep Residual Learning for Image Recognition", 2016 (arXiv 1512.03385), by timm.

    Args:
        size: 18 or 34 (width 512), 26 or 50 (width 2048).
        in_channels: of the images.
        groups: of every group norm.
        average_pool: one token, the mean of all.
        language_dim: width of an instruction's embedding that scales and shifts the channels after
            every block (FiLM); it begins without effect. None: no instruction.
    """

    def __init__(
        self,
        size: int = 18,
        in_channels: int = 3,
        groups: int = 16,
        average_pool: bool = False,
        language_dim: int | None = None,
    ) -> None:
        super().__init__()
        one_of("size", size, SIZES)
        at_least(1, in_channels=in_channels, groups=groups)
        self.average_pool = average_pool
        self.net: Any = import_object("timm:create_model")(
            f"resnet{size}",
            in_chans=in_channels,
            num_classes=0,
            global_pool="",
            norm_layer=partial(_group_norm, groups=groups),
        )
        self.width = int(self.net.num_features)
        self.film: FilmMaps | None = None
        self.modulate = Modulate()
        if language_dim is not None:
            at_least(1, language_dim=language_dim)
            self.film = FilmMaps(language_dim, [_channels(block) for block in self._blocks()])

    def forward(
        self, images: Float[Tensor, "b c h w"], language: Float[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b n e"]:
        """language: embeddings of the instructions, where the network takes them."""
        if (language is None) != (self.film is None):
            raise ValueError(
                f"language is {'missing' if language is None else 'given'}, but language_dim is "
                f"{None if self.film is None else self.film.in_features}"
            )
        if min(images.shape[2:]) < _SMALLEST:
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]}, but a ResNet needs at least "
                f"{_SMALLEST} x {_SMALLEST} pixels"
            )
        net = self.net
        x = net.maxpool(net.act1(net.bn1(net.conv1(images))))
        parts: Sequence[Tensor | None] = [None] * len(self._blocks())
        if self.film is not None and language is not None:
            parts = self.film.parts(self.film(language))
        for block, part in zip(self._blocks(), parts, strict=True):
            x = block(x)
            x = x if part is None else self.modulate(x, part)
        x = x.flatten(2).transpose(1, 2)
        return x.mean(1, keepdim=True) if self.average_pool else x

    def _blocks(self) -> list[nn.Module]:
        net = self.net
        return [
            block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage
        ]


class PatchTokens(nn.Module):
    """A linear map of every patch: (b, c, h, w) -> (b, tokens, width), row by row."""

    def __init__(self, width: int, patch_size: int = 4, in_channels: int = 3) -> None:
        super().__init__()
        at_least(1, feature_dim=width, patch_size=patch_size, in_channels=in_channels)
        self.width, self.patch_size = width, patch_size
        self.conv = nn.Conv2d(in_channels, width, patch_size, patch_size)

    def forward(
        self, images: Float[Tensor, "b c h w"], language: Float[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b n e"]:
        """Patches take no instruction: ValueError for one."""
        if language is not None:
            raise ValueError("language is given, but patches take no instruction")
        if any(side % self.patch_size for side in images.shape[2:]):
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]}, but patch_size = "
                f"{self.patch_size} must divide both sides"
            )
        return self.conv(images).flatten(2).transpose(1, 2)


def _group_norm(channels: int, groups: int, **factory: Any) -> nn.GroupNorm:
    if channels % groups:
        raise ValueError(f"groups is {groups}, but must divide {channels} channels")
    return nn.GroupNorm(groups, channels, **factory)


def _channels(block: nn.Module) -> int:
    """Channels that a block of timm's ResNets gives."""
    last = "conv3" if hasattr(block, "conv3") else "conv2"
    return int(getattr(block, last).out_channels)
