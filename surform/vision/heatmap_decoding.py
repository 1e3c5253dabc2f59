"""Heatmaps -> joints, on the device, for all persons at once.

"none" takes the largest pixel; "default" moves a quarter pixel towards its larger neighbour
(Newell et al., arXiv 1603.06937); "dark" takes a Newton step on the log of the blurred map (Zhang
et al., arXiv 1910.06278); "udp" does so, and knows that first and last pixels of crop and heatmap
coincide, "combined" reads predicted offsets (Huang et al., arXiv 1911.07524); "megvii" is CPN's
(arXiv 1711.07319). Numbers as in ViTAE-Transformer/ViTPose@c050ed29112d.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.checks import one_of
from surform.vision.gaussians import blur, blur_matrix
from surform.vision.heatmap_targets import RADIUS

__all__ = ["METHODS", "Joints", "Method", "decode", "peaks", "to_image"]

Method = Literal["none", "default", "dark", "udp", "combined", "megvii"]
METHODS = ("none", "default", "dark", "udp", "combined", "megvii")
_UNIT = 200.0  # pixels that a person's scale of 1 stands for


class Joints(NamedTuple):
    """Where joints were found.

    Args:
        xy: (B, K, 2), in pixels of the heatmap, or of the image after `to_image`; (-1, -1) in the
            heatmap where no pixel is positive.
        score: (B, K), the heatmap's largest value.
    """

    xy: Tensor
    score: Tensor


def decode(
    heatmaps: Float[Tensor, "b c h w"],
    method: Method = "udp",
    *,
    kernel: int = 11,
    sigma: float | None = None,
    radius: float = RADIUS,
    legacy_empty: bool = False,
) -> Joints:
    """Joints in pixels of the heatmap.

    Args:
        heatmaps: with "combined" three channels per joint.
        kernel: taps of the blur ("dark", "udp", "megvii", "combined").
        sigma: of the blur of "udp"; None: that of OpenCV for so many taps, 2 for 11, as published.
            transformers' post-processing takes 0.8.
        radius: that of the offsets' unit ("combined"), in heights of the heatmap.
        legacy_empty: where no pixel is positive, refine with values of another joint's map, as
            the official code does ("udp", "combined").

    Raises:
        ValueError: an unknown method, or channels that are no multiple of three ("combined").
    """
    one_of("method", method, METHODS)
    maps = heatmaps.float() if heatmaps.dtype.itemsize < 4 else heatmaps
    if method == "combined":
        return _combined(maps, kernel, radius, legacy_empty)
    if method == "megvii":
        maps = _rescaled_blur(maps, kernel)
    found = peaks(maps)
    if method == "udp":
        xy = found.xy + _udp_step(maps, found, kernel, sigma, legacy_empty)
        return Joints(xy, found.score)
    if method == "dark":
        logs = _rescaled_blur(maps, kernel).clamp(min=1e-10).log()
        return Joints(found.xy + _dark_step(logs, found.xy), found.score)
    if method == "none":
        return found
    xy = found.xy + _quarter_step(maps, found.xy, 0.5 if method == "megvii" else 0.0)
    return Joints(xy, found.score / 255 + 0.5 if method == "megvii" else found.score)


def to_image(
    xy: Float[Tensor, "b k 2"],
    center: Float[Tensor, "b 2"],
    scale: Float[Tensor, "b 2"],
    heatmap_size: tuple[int, int],
    *,
    aligned: bool,
) -> Float[Tensor, "b k 2"]:
    """Joints of a heatmap in pixels of the image that its crop was cut from.

    Args:
        center: (x, y) of the crop's centre, in pixels of the image.
        scale: width and height of the crop, in units of 200 pixels.
        heatmap_size: (height, width).
        aligned: True for "udp" and "combined", whose crops have their first and last pixels'
            centres on the box; False for the others.
    """
    size = torch.tensor(heatmap_size, dtype=xy.dtype, device=xy.device).flip(0)
    extent = (_UNIT * scale.to(xy))[:, None]
    step = extent / (size - 1 if aligned else size)
    return xy * step + center.to(xy)[:, None] - extent / 2


def peaks(maps: Float[Tensor, "b k h w"]) -> Joints:
    """The largest pixel of each map; (-1, -1) where none is positive."""
    score, place = maps.flatten(2).max(-1)
    width = maps.shape[-1]
    xy = torch.stack((place % width, place // width), -1).to(maps.dtype)
    return Joints(torch.where((score > 0)[..., None], xy, -1.0), score)


def _quarter_step(maps: Tensor, xy: Tensor, more: float) -> Tensor:
    """A quarter pixel towards the larger neighbour, plus `more`; nothing near the border."""
    height, width = maps.shape[-2:]
    x, y = xy.long().unbind(-1)
    inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    near = _around(maps, x, y, 1)
    slope = torch.stack((near[..., 1, 2] - near[..., 1, 0], near[..., 2, 1] - near[..., 0, 1]), -1)
    return torch.where(inner[..., None], 0.25 * slope.sign() + more, 0.0)


def _dark_step(logs: Tensor, xy: Tensor) -> Tensor:
    """A Newton step with second differences over two pixels; nothing near the border."""
    height, width = logs.shape[-2:]
    x, y = xy.long().unbind(-1)
    inner = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    v = _around(logs, x, y, 2)
    dx, dy = (v[..., 2, 3] - v[..., 2, 1]) / 2, (v[..., 3, 2] - v[..., 1, 2]) / 2
    middle = 2 * v[..., 2, 2]
    dxx, dyy = (
        (v[..., 2, 4] - middle + v[..., 2, 0]) / 4,
        (v[..., 4, 2] - middle + v[..., 0, 2]) / 4,
    )
    dxy = (v[..., 3, 3] - v[..., 1, 3] - v[..., 3, 1] + v[..., 1, 1]) / 4
    determinant = dxx * dyy - dxy.square()
    step = _newton(dx, dy, dxx, dxy, dyy, torch.where(determinant == 0, 1.0, determinant))
    return torch.where((inner & (determinant != 0))[..., None], step, 0.0)


def _udp_step(
    maps: Tensor, found: Joints, kernel: int, sigma: float | None, legacy_empty: bool
) -> Tensor:
    """A Newton step on the log of the blurred map, of which only nine pixels are made."""
    height, width = maps.shape[-2:]
    empty = found.score <= 0
    x, y = found.xy.clamp(min=0).long().unbind(-1)
    rows, columns = (blur_matrix(n, kernel, "mirror", sigma).to(maps) for n in (height, width))
    near = torch.arange(-1, 2, device=maps.device)
    rows = rows[(y[..., None] + near).clamp(0, height - 1)]  # (b, k, 3, h), edges repeated
    columns = columns[(x[..., None] + near).clamp(0, width - 1)]
    values = rows @ maps @ columns.transpose(-1, -2)  # (b, k, 3, 3)
    if legacy_empty:
        values = torch.where(empty[..., None, None], _beside(maps, kernel, sigma), values)
    v = values.clamp(0.001, 50).log()
    middle, left, right = v[..., 1, 1], v[..., 1, 0], v[..., 1, 2]
    up, down = v[..., 0, 1], v[..., 2, 1]
    dxx, dyy = right - 2 * middle + left, down - 2 * middle + up
    dxy = (v[..., 2, 2] - right - down + 2 * middle - left - up + v[..., 0, 0]) / 2
    dxx, dyy = (d + torch.finfo(torch.float32).eps for d in (dxx, dyy))
    step = _newton((right - left) / 2, (down - up) / 2, dxx, dxy, dyy, dxx * dyy - dxy.square())
    return step if legacy_empty else torch.where(empty[..., None], 0.0, step)


def _beside(maps: Tensor, kernel: int, sigma: float | None) -> Tensor:
    """What lies around the pixel (-1, -1) in the memory of all maps, each padded by its edges.

    Right and below is the map's own first pixel; left of it and above it end the rows of the map
    before, which for the first one is the last.
    """
    blurred = blur(maps, kernel, "mirror", sigma)
    before = blurred.flatten(0, 1).roll(1, 0).view_as(blurred)
    values = blurred[..., :1, :1].repeat(1, 1, 3, 3)
    values[..., 0, 0] = values[..., 1, 0] = before[..., -1, -1]
    values[..., 0, 1] = before[..., -1, 0]
    return values


def _combined(maps: Tensor, kernel: int, radius: float, legacy_empty: bool) -> Joints:
    """The peak of the blurred disc, moved by the blurred offsets that are predicted there."""
    if maps.shape[1] % 3:
        raise ValueError(
            f"heatmaps with offsets have three channels per joint, but there are {maps.shape[1]}"
        )
    height, width = maps.shape[-2:]
    found = peaks(blur(maps[:, ::3], 2 * kernel + 1, "mirror"))
    x, y = found.xy.long().unbind(-1)
    place, empty = x + y * width, found.score <= 0
    steps = []
    for axis in (1, 2):
        lines = blur(maps[:, axis::3], kernel, "mirror").flatten(2)  # (b, k, h w)
        if legacy_empty:  # one line per person: a negative place is one of the joint before
            joints = torch.arange(lines.shape[1], device=maps.device)
            lines, at = lines.flatten(1), joints * height * width + place
            steps.append(lines.gather(1, at % lines.shape[1]))
        else:
            steps.append(lines.gather(2, place.clamp(min=0)[..., None])[..., 0])
    step = radius * height * torch.stack(steps, -1)
    xy = found.xy + (step if legacy_empty else torch.where(empty[..., None], 0.0, step))
    return Joints(xy, found.score)


def _rescaled_blur(maps: Tensor, kernel: int) -> Tensor:
    """Blurred with zeros around, the maximum as before."""
    blurred = blur(maps, kernel, "zero")
    before, after = (m.flatten(2).amax(-1)[..., None, None] for m in (maps, blurred))
    return blurred * (before / torch.where(after == 0, 1.0, after))


def _newton(
    dx: Tensor, dy: Tensor, dxx: Tensor, dxy: Tensor, dyy: Tensor, determinant: Tensor
) -> Tensor:
    """-H^-1 (dx, dy) for H = ((dxx, dxy), (dxy, dyy))."""
    step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), -1)
    return step / determinant[..., None]


def _around(maps: Tensor, x: Tensor, y: Tensor, reach: int) -> Tensor:
    """(b, k, 2 reach + 1, 2 reach + 1) pixels around (x, y); the border's where there are none."""
    height, width = maps.shape[-2:]
    near = torch.arange(-reach, reach + 1, device=maps.device)
    rows = (y[..., None] + near).clamp(0, height - 1)[..., :, None]
    columns = (x[..., None] + near).clamp(0, width - 1)[..., None, :]
    places = (rows * width + columns).flatten(2)
    return maps.flatten(2).gather(2, places).unflatten(2, (len(near), len(near)))
