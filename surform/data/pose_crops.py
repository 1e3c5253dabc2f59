"""From a box to a crop of fixed size: centre and scale, the warp, and where joints come to lie.

Two warps are in use. The aligned one (Huang et al., UDP, arXiv 1911.07524) puts the centres of the
crop's first and last pixels on the edges of the box; the classic one is a similarity through three
points (Xiao et al., arXiv 1804.06208), whose scale is that of the width. Numbers as in
ViTAE-Transformer/ViTPose@c050ed29112d.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["UNIT", "center_scale", "crop_matrix", "cut", "joints_in_crop", "mirrored_joints"]

UNIT = 200.0  # pixels that a scale of 1 stands for
Size = tuple[int, int]


def center_scale(
    boxes: np.ndarray, image_size: Size, padding: float = 1.25, jitter: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and scales of the crops of boxes.

    Args:
        boxes: (..., 4): left, top, width, height in pixels of the image.
        image_size: height and width of crops.
        padding: how much larger crops are than boxes, widened to the crop's shape.
        jitter: (..., 2), by which centres are moved, in widths and heights of the boxes.

    Returns:
        (..., 2) centres (x, y) in pixels and (..., 2) scales: width and height in 200 pixels.
    """
    boxes = np.asarray(boxes, np.float64)
    corner, size = boxes[..., :2], boxes[..., 2:]
    center = corner + size / 2
    if jitter is not None:
        center = center + jitter * size
    return center, _widened(size, image_size) / UNIT * padding


def half_body(points: np.ndarray, image_size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale of a crop around some joints (n, 2): their mean, and 1.5 times their box."""
    size = points.max(0) - points.min(0)
    return points.mean(0), _widened(size, image_size) / UNIT * 1.5


def _widened(size: np.ndarray, image_size: Size) -> np.ndarray:
    """Widths and heights, the smaller one enlarged to the shape of the crop."""
    aspect = image_size[1] / image_size[0]
    width = np.maximum(size[..., 0], size[..., 1] * aspect)
    return np.stack((width, width / aspect), -1)


def crop_matrix(
    center: np.ndarray, scale: np.ndarray, rotation: float, image_size: Size, *, aligned: bool
) -> np.ndarray:
    """The (2, 3) matrix from pixels of the image to pixels of the crop, in float64.

    Args:
        center, scale: of the crop, see `center_scale`.
        rotation: in degrees; the two warps turn in opposite senses, as published.
        image_size: height and width of the crop.
        aligned: the warp of UDP; else the classic one.
    """
    height, width = image_size
    extent = UNIT * np.asarray(scale, np.float64)
    angle = math.radians(rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (float(value) for value in center)
    if aligned:
        across, down = (width - 1) / extent[0], (height - 1) / extent[1]
        linear = np.array([[cos * across, -sin * across], [sin * down, cos * down]])
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
    else:
        across = width / extent[0]
        linear = across * np.array([[cos, sin], [-sin, cos]])
        middle = np.array([width / 2, height / 2])
    return np.concatenate((linear, (middle - linear @ (x, y))[:, None]), 1)


def joints_in_crop(
    joints: np.ndarray, visible: np.ndarray, matrix: np.ndarray, *, aligned: bool
) -> np.ndarray:
    """Joints (K, 2) of the image in pixels of the crop.

    The classic warp leaves joints that are not labelled (`visible` (K,) is 0) where they are, as
    published.
    """
    moved = joints @ matrix[:, :2].T + matrix[:, 2]
    return moved if aligned else np.where(visible[:, None] > 0, moved, joints)


def mirrored_joints(
    joints: np.ndarray, visible: np.ndarray, width: int, mirror: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Joints and visibilities of the mirrored image, `width` pixels wide; unlabelled ones at 0."""
    order = np.array(mirror)
    turned, labelled = joints[order].copy(), visible[order]
    turned[:, 0] = width - 1 - turned[:, 0]
    return np.where(labelled[:, None] > 0, turned, 0.0), labelled


def cut(image: np.ndarray, matrix: np.ndarray, image_size: Size) -> np.ndarray:
    """The crop (3, H, W) of an image (h, w, 3), both uint8: bilinear, black outside.

    Only the part of the image that the crop sees is touched.
    """
    height, width = image_size
    back = np.linalg.inv(np.concatenate((matrix, [[0, 0, 1]])))[:2]
    corners = np.array([(x, y) for x in (0, width - 1) for y in (0, height - 1)])
    seen = corners @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(seen.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(seen.max(0)) + 1, image.shape[1::-1]).astype(int)
    if (high <= low).any():
        return np.zeros((3, height, width), np.uint8)
    part = torch.from_numpy(image[low[1] : high[1], low[0] : high[0]].transpose(2, 0, 1).copy())
    size = high - low
    # pixels of the part in the units of grid_sample: -1 and 1 are its outer edges
    back[:, 2] += 0.5 - low
    back = back * (2 / size)[:, None]
    back[:, 2] -= 1
    x = np.arange(width) * back[:, :1] + back[:, 2:]
    y = np.arange(height) * back[:, 1:2]
    grid = torch.from_numpy(np.stack([x[n] + y[n][:, None] for n in (0, 1)], -1, dtype=np.float32))
    crop = F.grid_sample(part[None].float(), grid[None], "bilinear", "zeros", align_corners=False)
    return crop[0].round_().to(torch.uint8).numpy()
