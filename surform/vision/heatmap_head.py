"""ViTPose's decoders: from the features of patches to one heatmap per joint."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, one_of

__all__ = ["Decoder", "HeatmapHead"]

Decoder = Literal["classic", "simple"]
_PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}  # kernel -> padding, output padding: each doubles


class HeatmapHead(nn.Module):
    """(B, dim, h, w) -> (B, joints, H, W).

    "classic": deconvolutions of stride 2 with batch norm and ReLU, then a convolution. "simple":
    ReLU, bilinear upsampling, then a convolution.

    Args:
        deconv_channels, deconv_kernels: one entry per deconvolution of the classic decoder.
        upsample: factor of the simple decoder.
        final_kernel: of the last convolution; None is 1 for the classic decoder, 3 for the simple.
    """

    def __init__(
        self,
        dim: int,
        joints: int,
        decoder: Decoder = "classic",
        deconv_channels: tuple[int, ...] = (256, 256),
        deconv_kernels: tuple[int, ...] = (4, 4),
        upsample: int = 4,
        final_kernel: int | None = None,
    ) -> None:
        super().__init__()
        one_of("decoder", decoder, ["classic", "simple"])
        at_least(1, dim=dim, joints=joints, upsample=upsample)
        if len(deconv_channels) != len(deconv_kernels):
            raise ValueError(
                f"deconv_channels {tuple(deconv_channels)} and deconv_kernels "
                f"{tuple(deconv_kernels)} must name the same number of deconvolutions"
            )
        classic = decoder == "classic"
        if final_kernel is None:
            final_kernel = 1 if classic else 3
        one_of("final_kernel", final_kernel, [1, 3])
        self.upsample = 1 if classic else upsample
        self.relu_first = not classic
        widths = (dim, *(deconv_channels if classic else ()))
        self.deconvolutions = nn.ModuleList(
            Deconvolution(before, after, kernel)
            for before, after, kernel in zip(widths, widths[1:], deconv_kernels, strict=False)
        )
        self.final = nn.Conv2d(widths[-1], joints, final_kernel, padding=final_kernel // 2)
        self.scale = self.upsample * 2 ** len(self.deconvolutions)
        _initialize(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k H W"]:
        if self.relu_first:
            return self._upsampled(F.relu(x))
        for deconvolution in self.deconvolutions:
            x = deconvolution(x)
        return self.final(x)

    def _upsampled(self, x: Tensor) -> Tensor:
        """final(upsampling(x)), with the sums over channels, which commute, before the upsampling.

        Each tap of the kernel maps the few features to maps of the joints; these are upsampled,
        shifted to where the tap reads, and added.
        """
        weight, size = self.final.weight, self.final.kernel_size[0]
        taps = weight.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None]  # (size^2 k, c, 1, 1)
        maps = F.conv2d(x, taps)
        maps = F.interpolate(maps, scale_factor=self.upsample, mode="bilinear", align_corners=False)
        height, width = maps.shape[-2:]
        maps = F.pad(maps, [size // 2] * 4).unflatten(1, (size, size, -1))  # (b, size, size, k, ..)
        out = self.final.bias[:, None, None]  # type: ignore[index]
        for row in range(size):
            for column in range(size):
                out = out + maps[:, row, column, :, row : row + height, column : column + width]
        return out


class Deconvolution(nn.Module):
    """ReLU(batch norm(transposed convolution of stride 2)): twice the height and width."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        at_least(1, deconv_channels=out_channels)
        one_of("deconv_kernels", kernel, list(_PADDING))
        self.padding, self.more = _PADDING[kernel]
        self.deconvolution = nn.ConvTranspose2d(
            in_channels, out_channels, kernel, 2, self.padding, self.more, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        if self.training:
            return F.relu(self.norm(self.deconvolution(x)))
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # type: ignore[operator]
        weight = self.deconvolution.weight * scale[:, None, None]  # the norm is part of the map
        bias = norm.bias - norm.running_mean * scale  # type: ignore[operator]
        return F.relu(F.conv_transpose2d(x, weight, bias, 2, self.padding, self.more))


def _initialize(head: HeatmapHead) -> None:
    for module in head.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
