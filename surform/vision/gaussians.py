"""Gaussian blur of heatmaps as OpenCV does it, as matrices: what published pose codes blur with."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.checks import at_least

__all__ = ["blur", "blur_matrix", "taps"]

Border = Literal["mirror", "zero"]
# OpenCV's kernels of few taps where no sigma is given, in units of the sum
_SMALL = {
    1: (1, [1]),
    3: (4, [1, 2, 1]),
    5: (16, [1, 4, 6, 4, 1]),
    7: (64, [2, 7, 14, 18, 14, 7, 2]),
    9: (256, [4, 13, 30, 51, 60, 51, 30, 13, 4]),
}


def taps(size: int, sigma: float | None = None) -> Float[Tensor, " size"]:
    """A Gaussian of `size` (odd) taps that sum to 1, in float64.

    Args:
        sigma: in pixels; None takes OpenCV's: 0.3 ((size - 1) / 2 - 1) + 0.8, and rounded tables
            up to 9 taps.
    """
    at_least(1, size=size)
    if size % 2 == 0:
        raise ValueError(f"a Gaussian kernel has an odd number of taps, not {size}")
    if sigma is None and size in _SMALL:
        total, counts = _SMALL[size]
        return torch.tensor(counts, dtype=torch.float64) / total
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8 if sigma is None else sigma
    at = torch.arange(size, dtype=torch.float64) - size // 2
    values = torch.exp(-at.square() / (2 * sigma**2))
    return values / values.sum()


def blur_matrix(
    length: int, size: int, border: Border, sigma: float | None = None
) -> Float[Tensor, "n n"]:
    """The matrix that blurs a line of `length` pixels, in float64.

    Args:
        border: "mirror" reads the line mirrored at its last pixels, which are not repeated;
            "zero" reads zeros beyond them.
    """
    kernel, pixels = taps(size, sigma), torch.arange(length)
    read = pixels[:, None] + torch.arange(size) - size // 2  # (to, tap): the pixel read
    weight = kernel.expand(length, size)
    if border == "zero":
        weight = weight * ((read >= 0) & (read < length))
        read = read.clamp(0, length - 1)
    else:
        period = max(1, 2 * (length - 1))
        read = read.remainder(period)
        read = torch.minimum(read, period - read) if length > 1 else read * 0
    return torch.zeros(length, length, dtype=torch.float64).scatter_add(1, read, weight)


def blur(
    maps: Float[Tensor, "*b h w"], size: int, border: Border, sigma: float | None = None
) -> Float[Tensor, "*b h w"]:
    """Every map blurred along both axes."""
    rows, columns = (blur_matrix(n, size, border, sigma).to(maps) for n in maps.shape[-2:])
    return rows @ (maps @ columns.T)
