"""Images moved by a few pixels at random, so that a policy does not learn places by heart.

Kostrikov et al., "Image Augmentation Is All You Need", 2020 (arXiv 2004.13649).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["random_shift"]


def random_shift(images: Shaped[Tensor, "b t h w c"], pixels: int) -> Shaped[Tensor, "b t h w c"]:
    """Each window by an offset of its own, up to `pixels` up, down and to the sides.

    All frames of a window are moved alike; pixels at the edges are repeated.
    """
    batch, _, height, width, _ = images.shape
    flat = images.flatten(0, 1).permute(0, 3, 1, 2)
    padded = F.pad(flat.float(), (pixels,) * 4, mode="replicate").to(images.dtype)
    padded = padded.permute(0, 2, 3, 1).unflatten(0, (batch, -1))
    offsets = torch.randint(0, 2 * pixels + 1, (batch, 2)).tolist()
    return torch.stack(
        [
            own[:, row : row + height, column : column + width]
            for own, (row, column) in zip(padded, offsets, strict=True)
        ]
    )
