"""Pose backbones that begin with the weights of a masked autoencoder.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377). Their networks
see square images, patches of 14 or 16 pixels, and one feed-forward map where ViTPose+ has experts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from surform.layers.position_grid import resize_positions
from surform.vision.pose_backbone import PoseBackbone

__all__ = ["fit_backbone"]

State = dict[str, Tensor]


def fit_backbone(state: Mapping[str, Tensor], backbone: PoseBackbone) -> State:
    """The state dict of a plain vision transformer as one for `backbone`.

    Args:
        state: under the backbone's names ("positions", "patch.weight", "blocks.0..."); its
            positions are those of a class token and of a square grid, or of the backbone's grid.
        backbone: what to fit to. Positions are interpolated, patches padded with zeros, and with
            experts each one gets the last rows of the feed-forward map.

    Returns:
        Those of `state`, changed where needed; keys that it lacks are not there.

    Raises:
        ValueError: positions of another grid than these, or patches larger than the backbone's.
    """
    own, fitted = backbone.state_dict(), dict(state)
    if "positions" in fitted:
        fitted["positions"] = _positions(fitted["positions"], backbone.grid)
    if "patch.weight" in fitted:
        fitted["patch.weight"] = _patches(fitted["patch.weight"], own["patch.weight"].shape[-1])
    for name, value in state.items():
        experts = own.get(name.replace(".down.", ".experts."))
        if ".down." in name and experts is not None and len(value) > len(own[name]):
            part = experts.shape[1]
            fitted[name], last = value[:-part], value[-part:]
            fitted[name.replace(".down.", ".experts.")] = last.expand_as(experts).clone()
    return fitted


def _positions(positions: Tensor, grid: tuple[int, ...]) -> Tensor:
    rows, columns = grid
    places = positions.shape[1] - 1
    side = math.isqrt(max(places, 0))
    if side * side != places and places == rows * columns:
        return positions
    if side * side != places:
        raise ValueError(
            f"positions of {places} places are neither those of a square grid nor of the "
            f"network's {rows} x {columns}"
        )
    return resize_positions(positions, (side, side), (rows, columns))


def _patches(weight: Tensor, size: int) -> Tensor:
    more = size - weight.shape[-1]
    if more < 0:
        raise ValueError(
            f"the weights' patches have {weight.shape[-1]} pixels, more than the network's {size}"
        )
    return F.pad(weight, (more // 2, more - more // 2) * 2)
