"""EfficientNet with FiLM after every block: the image encoder of RT-1.

Tan and Le, "EfficientNet", 2019 (arXiv 1905.11946), as timm builds it; conditioned as in Brohan et
al., "RT-1", 2022 (arXiv 2212.06817), section 5.1.
"""

from __future__ import annotations

import copy
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from surform.layers.checks import at_least
from surform.robotics.film import FilmMaps, Modulate

__all__ = ["FilmEfficientNet", "build_trunk"]

_DEVIATION = (0.229, 0.224, 0.225)  # by whose root the images are divided a second time


class FilmEfficientNet(nn.Module):
    """Images (b, 3, h, w) from 0 to 1 -> tokens (b, n, dim), row by row.

    Args:
        name: one of timm's `tf_efficientnet_...`.
        dim: width of the tokens.
        image_size: side to which images are resized [pixels]; n = (image_size // 32)^2.
        context_dim: width of the context.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, name: str, dim: int, image_size: int, context_dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim, context_dim=context_dim)
        at_least(32, image_size=image_size)
        self.image_size, self.tokens = image_size, (image_size // 32) ** 2
        self.trunk = build_trunk(name)
        channels = [_last_norm(block).num_features for block in self.blocks]
        self.project = nn.Conv2d(self.trunk.conv_head.out_channels, dim, 1, bias=False)
        self.film = FilmMaps(context_dim, [*channels, dim])
        self.modulates = nn.ModuleList(Modulate() for _ in self.film.sizes)
        # divided by the roots of both, which together are the deviation of ImageNet's pixels
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)))
        self.register_buffer("variance", torch.tensor(_DEVIATION))

    def forward(
        self, images: Float[Tensor, "b c h w"], modulation: Float[Tensor, "b m"]
    ) -> Float[Tensor, "b n d"]:
        """modulation: `film(context)`."""
        trunk, parts = self.trunk, self.film.parts(modulation)
        x = trunk.bn1(trunk.conv_stem(self._standardized(images)))
        for block, modulate, part in zip(self.blocks, self.modulates, parts, strict=False):
            x = modulate(block(x), part)
        x = self.project(trunk.bn2(trunk.conv_head(x)))
        return self.modulates[-1](x, parts[-1]).flatten(2).transpose(1, 2)

    @property
    def blocks(self) -> list[Any]:
        """timm's blocks, in order."""
        return [block for stage in self.trunk.blocks for block in stage]

    def folded(self) -> FilmEfficientNet:
        """A copy for evaluation whose convolutions do what the batch norms behind them did."""
        other = copy.deepcopy(self).eval()
        for module in list(other.trunk.modules()):
            for conv, norm in _pairs(module):
                act = getattr(module, norm).act
                setattr(
                    module, conv, fuse_conv_bn_eval(*(getattr(module, n) for n in (conv, norm)))
                )
                setattr(module, norm, act)
        return other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _standardized(self, images: Tensor) -> Tensor:
        side = self.image_size
        if tuple(images.shape[2:]) != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
        if not torch.compiler.is_compiling():  # depthwise convolutions on CPUs want it
            images = images.contiguous(memory_format=torch.channels_last)
        scale = (self.variance * self.variance.new_tensor(_DEVIATION)).sqrt()
        return (images - self.mean[:, None, None]) / scale[:, None, None]


class _FixedPadding(nn.Conv2d):
    """A convolution of stride 2 that pads one pixel less before than behind, whatever the size.

    So does Keras where it does not know the size of images when it builds the network; timm pads
    by the size of each image.
    """

    def forward(self, input: Tensor) -> Tensor:
        half = self.kernel_size[0] // 2
        padded = F.pad(input, (half - 1, half, half - 1, half))
        return self._conv_forward(padded, self.weight, self.bias)


def build_trunk(name: str) -> Any:
    """timm's network, without its head and with fixed padding; ValueError for other networks."""
    known = timm.list_models("tf_efficientnet_*", exclude_filters="*_cc_*")  # mixtures of kernels
    if name not in known:
        raise ValueError(
            f"encoder is {name!r}, but must be one of timm's tf_efficientnet_..., such as "
            "tf_efficientnet_b3"
        )
    trunk: Any = timm.create_model(name, num_classes=0, global_pool="", bn_momentum=0.01)
    for path, module in list(trunk.named_modules()):
        if isinstance(module, Conv2dSame):
            parent, _, child = path.rpartition(".")
            setattr(trunk.get_submodule(parent), child, _fixed(module))
    return trunk


def _fixed(conv: Any) -> _FixedPadding:
    other = _FixedPadding(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    other.load_state_dict(conv.state_dict())
    return other


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    return [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1]


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions and of the batch norms that follow them, in a network or block."""
    names = [n for n, child in module.named_children() if isinstance(child, nn.Conv2d)]
    norms = [n for n, child in module.named_children() if isinstance(child, nn.BatchNorm2d)]
    return list(zip(names, norms, strict=True)) if norms else []
