"""A small network of convolutions over rows, columns and components: what others are measured by.

After Ben Hamida et al., "3-D Deep Learning Approach for Remote Sensing Image Classification", IEEE
TGRS 56(8), 2018: kernels of 3 x 3 x 3, then steps of two along the spectrum.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least

__all__ = ["SpectralCNN"]


class SpectralCNN(nn.Module):
    """3D-CNN: the class of the pixel in the middle of a window, a small baseline.

    After Ben Hamida et al., "3-D Deep Learning Approach for Remote Sensing Image Classification",
    IEEE TGRS 2018, which Audebert et al. compare with others (arXiv 1904.10674).

    Args:
        window: side of the patch round a pixel [pixels].
        in_channels: principal components of the spectra, or bands.
        num_classes: how many logits.
        filters: channels of the two pairs of convolutions.
    """

    @record_arguments
    def __init__(
        self, window: int, in_channels: int, num_classes: int, filters: tuple[int, int] = (20, 35)
    ) -> None:
        super().__init__()
        at_least(1, window=window, in_channels=in_channels)
        at_least(2, num_classes=num_classes)
        if not isinstance(filters, list | tuple) or len(filters) != 2:
            raise ValueError(f"filters is {filters!r}, but must be two numbers of channels")
        first, second = filters
        at_least(1, filters=first)
        at_least(1, filters=second)
        self.size = (in_channels, window, window)
        self.convolutions = nn.ModuleList()
        for channels, out in ((1, first), (first, second)):
            self.convolutions.append(nn.Conv3d(channels, out, 3, padding=1))
            self.convolutions.append(nn.Conv3d(out, out, (3, 1, 1), (2, 1, 1), (1, 0, 0)))
        length = math.ceil(in_channels / 4)  # two steps of two along the spectrum
        self.head = nn.Linear(second * length * window * window, num_classes)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c"]:
        """Logits of patches; ValueError where they have another size."""
        if tuple(x.shape[1:]) != self.size:
            raise ValueError(
                f"patches have shape {tuple(x.shape)}, but this network takes (batch, "
                f"{self.size[0]} components, {self.size[1]} rows, {self.size[2]} columns)"
            )
        x = x.unsqueeze(1)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return self.head(x.flatten(1))
