"""What a pose network is trained on: joints in the crop -> heatmaps, and what each counts.

Encodings: "msra" (Xiao et al., arXiv 1804.06208), "msra_unbiased" (Zhang et al., DARK, arXiv
1910.06278), "udp" and "udp_combined" (Huang et al., arXiv 1911.07524), "megvii" (Chen et al., CPN,
arXiv 1711.07319); numbers as in ViTAE-Transformer/ViTPose@c050ed29112d.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.checks import at_least, one_of
from surform.vision.gaussians import blur_matrix

__all__ = ["ENCODINGS", "RADIUS", "Encoding", "make_targets"]

Encoding = Literal["msra", "msra_unbiased", "udp", "udp_combined", "megvii"]
ENCODINGS = ("msra", "msra_unbiased", "udp", "udp_combined", "megvii")
RADIUS = 0.0546875  # of the disc of "udp_combined", in heights of the heatmap
_PEAK = 255.0  # of "megvii"


def make_targets(
    joints: Float[Tensor, "b k xy"],
    visible: Float[Tensor, "b k"],
    image_size: tuple[int, int],
    heatmap_size: tuple[int, int],
    encoding: Encoding = "udp",
    *,
    sigma: float = 2.0,
    kernel: int = 11,
    radius: float = RADIUS,
    joint_weights: Float[Tensor, " k"] | None = None,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k"]]:
    """Heatmaps and the weight of every joint.

    Args:
        joints: (x, y) in pixels of the crop, from the centre of its first pixel.
        visible: 0 for joints that are not labelled; they have weight 0 and an empty heatmap.
        image_size, heatmap_size: (height, width).
        sigma: of the Gaussian in pixels of the heatmap, cut off at 3 sigma ("msra", "udp").
        kernel: taps of the blur that makes the peaks of "megvii".
        radius: of the disc of "udp_combined", in heights of the heatmap.
        joint_weights: factors of the weights, for joints that are hard to find.

    Returns:
        Heatmaps in the precision of `joints`; with "udp_combined" three channels per joint: the
        disc, and the offsets to the joint in x and y, in radii. Weights are `visible`, 0 for joints
        whose Gaussian lies outside, times `joint_weights`.

    Raises:
        ValueError: an unknown encoding, or shapes that do not go together.
    """
    one_of("encoding", encoding, ENCODINGS)
    at_least(2, height=heatmap_size[0], width=heatmap_size[1])
    if joints.ndim != 3 or joints.shape[2] < 2 or visible.shape != joints.shape[:2]:
        raise ValueError(
            f"joints have shape {tuple(joints.shape)} and visible {tuple(visible.shape)}, but must "
            "have (batch, joints, 2) and (batch, joints)"
        )
    size = torch.tensor(heatmap_size, dtype=torch.float64, device=joints.device).flip(0)
    image = torch.tensor(image_size, dtype=torch.float64, device=joints.device).flip(0)
    aligned = encoding.startswith("udp")  # first and last pixels, not their outer edges, coincide
    stride = (image - 1) / (size - 1) if aligned else image / size
    # in double precision, so that rounding to a pixel does not depend on the precision
    at = joints[..., :2].double() / stride
    weight = visible.double()
    if encoding == "udp_combined":
        maps = _discs(at, heatmap_size, radius)
    elif encoding == "megvii":
        maps, weight = _blurred_points(at, weight, heatmap_size, kernel)
    else:
        maps, inside = _gaussians(at, heatmap_size, sigma, encoding)
        weight = weight * inside
    drawn = (weight > 0.5).repeat_interleave(maps.shape[1] // joints.shape[1], 1)
    maps = torch.where(drawn[..., None, None], maps, 0.0)
    if joint_weights is not None:
        weight = weight * joint_weights.to(weight)
    return maps.to(joints.dtype), weight.to(joints.dtype)


def _gaussians(
    at: Tensor, size: tuple[int, int], sigma: float, encoding: str
) -> tuple[Tensor, Tensor]:
    """(maps, whether the window of 3 sigma around each joint touches the heatmap)."""
    reach = 3 * sigma
    exact = encoding == "msra_unbiased"  # no rounding, no window
    middle = at if exact else (at + 0.5).trunc()
    low, high = middle - reach, middle + reach + 1
    if not exact:
        low, high = low.trunc(), high.trunc()
    limits = torch.tensor(size, dtype=at.dtype, device=at.device).flip(0)
    inside = ((low < limits) & (high >= 0)).all(-1)
    if exact:
        peak = at
    else:
        peak = low + (2 * reach + 1) // 2 + (at - middle if encoding == "udp" else 0)
    lines = []
    for axis, length in enumerate(reversed(size)):
        pixels = torch.arange(length, dtype=at.dtype, device=at.device)
        line = torch.exp(-(pixels - peak[..., axis, None]).square() / (2 * sigma**2))
        if not exact:
            line = line * ((pixels >= low[..., axis, None]) & (pixels < high[..., axis, None]))
        lines.append(line)
    return lines[1][..., :, None] * lines[0][..., None, :], inside


def _discs(at: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """(b, 3 k, h, w): inside the disc around each joint 1, and the offsets to it in radii."""
    reach = radius * size[0]
    height, width = (torch.arange(n, dtype=at.dtype, device=at.device) for n in size)
    shape = (*at.shape[:2], *size)
    x = ((at[..., 0, None] - width) / reach)[..., None, :].expand(shape)
    y = ((at[..., 1, None] - height) / reach)[..., :, None].expand(shape)
    within = x.square() + y.square() <= 1
    return (torch.stack((torch.ones_like(x), x, y), 2) * within[:, :, None]).flatten(1, 2)


def _blurred_points(
    at: Tensor, weight: Tensor, size: tuple[int, int], kernel: int
) -> tuple[Tensor, Tensor]:
    """One blurred pixel per joint with peak 255; joints beside the heatmap have weight 0."""
    pixel = at.trunc().long()
    limits = torch.tensor(size, device=at.device).flip(0)
    inside = ((pixel >= 0) & (pixel < limits)).all(-1)
    pixel = torch.where(inside[..., None], pixel, 0)
    lines = []
    for axis, length in enumerate(reversed(size)):
        matrix = blur_matrix(length, kernel, "mirror").to(at)
        columns = matrix / matrix.diagonal()  # what a pixel spreads to, its own share being 1
        lines.append(columns.T[pixel[..., axis]])
    maps = _PEAK * lines[1][..., :, None] * lines[0][..., None, :]
    return maps, weight * inside * (weight >= 1)
