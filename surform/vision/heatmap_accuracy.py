"""How often the largest pixel of a heatmap is the right one: the accuracy shown in training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.vision.heatmap_decoding import peaks

__all__ = ["Accuracy", "heatmap_pck"]


class Accuracy(NamedTuple):
    """Shares of correct joints.

    Args:
        per_joint: (K,), -1 for joints that no sample shows.
        mean: over the joints that some sample shows; 0 where there are none.
        joints: how many these are.
    """

    per_joint: Tensor
    mean: Tensor
    joints: Tensor


def heatmap_pck(
    output: Float[Tensor, "b k h w"],
    target: Float[Tensor, "b k h w"],
    mask: Bool[Tensor, "b k"],
    threshold: float = 0.05,
) -> Accuracy:
    """PCK: peaks nearer to those of the target than a share of the heatmap's size.

    Differences in x are divided by its height and those in y by its width, as published.

    Args:
        mask: which joints count.
    """
    size = torch.tensor(output.shape[-2:], dtype=output.dtype, device=output.device)
    distance = torch.linalg.vector_norm((peaks(output).xy - peaks(target).xy) / size, dim=-1)
    seen = mask.sum(0)
    right = ((distance < threshold) & mask).sum(0)
    share = right.double() / seen.clamp(min=1)
    joints = (seen > 0).sum()
    mean = torch.where(seen > 0, share, 0.0).sum() / joints.clamp(min=1)
    return Accuracy(torch.where(seen > 0, share, -1.0), mean, joints)
