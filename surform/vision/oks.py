"""Object keypoint similarity: how near poses lie to one another, measured in their own size.

COCO's keypoint challenge (Lin et al., "Microsoft COCO", arXiv 1405.0312; Ruggero Ronchi and Perona,
arXiv 1707.05388).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["oks", "pose_similarity"]

_EPS = torch.finfo(torch.float64).eps  # COCO's tool adds it to areas


def oks(
    joints: Float[Tensor, "*b k 2"],
    truth: Float[Tensor, "*b k 2"],
    labelled: Bool[Tensor, "*b k"],
    area: Float[Tensor, "*b"],
    sigmas: Sequence[float] | Tensor,
    boxes: Float[Tensor, "*b 4"] | None = None,
) -> Float[Tensor, "*b"]:
    """OKS = mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)); leading axes broadcast.

    Args:
        joints: found, (x, y) in pixels of the image.
        truth: annotated ones.
        labelled: which of them are known.
        area: of the annotated person, in squared pixels.
        sigmas: (K,), see `surform.data.pose_keypoints`.
        boxes: left, top, width and height of the annotated persons. Where no joint is labelled,
            joints count by their distance from the box of three times its size, as in COCO's tool;
            without boxes the similarity is 0 then.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: another number of sigmas than of joints.
    """
    widths = _widths(sigmas, joints)
    distance = (joints - truth).square().sum(-1)
    unknown = ~labelled.any(-1, keepdim=True)
    counted = labelled
    if boxes is not None:
        distance = torch.where(unknown, _beyond(joints, boxes), distance)
        counted = labelled | unknown
    near = torch.exp(-distance / widths / (area[..., None] + _EPS) / 2)
    return torch.where(counted, near, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)


def pose_similarity(
    joints: Float[Tensor, "n k 2"], area: Float[Tensor, " n"], sigmas: Sequence[float] | Tensor
) -> Float[Tensor, "n n"]:
    """OKS between found poses, over all joints, areas averaged: what suppression compares."""
    widths = _widths(sigmas, joints)
    distance = (joints[:, None] - joints).square().sum(-1)
    both = (area[:, None] + area) / 2 + _EPS
    return torch.exp(-distance / widths / both[..., None] / 2).mean(-1)


def _widths(sigmas: Sequence[float] | Tensor, joints: Tensor) -> Tensor:
    """(2 sigma)^2 of every joint."""
    widths = (2 * torch.as_tensor(sigmas, dtype=joints.dtype, device=joints.device)).square()
    if len(widths) != joints.shape[-2]:
        raise ValueError(f"there are {len(widths)} sigmas, but poses of {joints.shape[-2]} joints")
    return widths


def _beyond(joints: Tensor, boxes: Tensor) -> Tensor:
    """Squared distance from a box with the same centre, three times as wide and high."""
    corner, size = boxes[..., None, :2], boxes[..., None, 2:]
    low, high = corner - size, corner + 2 * size
    outside = (low - joints).clamp(min=0) + (joints - high).clamp(min=0)
    return outside.square().sum(-1)
