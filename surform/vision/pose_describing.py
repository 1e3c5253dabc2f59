"""What converted weights do not say themselves: which published joints their heatmaps are."""

from __future__ import annotations

from typing import Any

from torch import nn

from surform.data.pose_description import PoseDescription
from surform.data.pose_published import PUBLISHED
from surform.data.pose_published import keypoint_set as published

__all__ = ["published_description"]

# the sets of published ViTPose+ weights, in the order of their heads, and how these are encoded
_PLUS = ("coco", "aic", "mpii", "ap10k", "apt36k", "coco_wholebody")
_CLASSIC = frozenset({"aic", "ap10k", "apt36k", "coco_wholebody"})


def published_description(net: nn.Module, keypoint_set: str | None) -> PoseDescription:
    """The description of a network with published weights.

    Args:
        keypoint_set: name of the set, where the network has a single head; of ViTPose+ with six
            heads the sets are known.

    Raises:
        ValueError: no set is given, or it has other joints than the network.
    """
    given: dict[str, Any] = net.__dict__.get("arguments", {})
    joints, size = given["joints"], given["image_size"]
    heads = tuple(joints) if isinstance(joints, tuple | list) else (joints,)
    if len(heads) == len(_PLUS) and keypoint_set is None:
        names = _PLUS
    elif len(heads) > 1:
        raise ValueError(
            f"a network of {len(heads)} heads does not take one keypoint_set; the sets of "
            "published ViTPose+ weights, with six heads, are known; tell others (model.fit_to)"
        )
    elif keypoint_set is None:
        raise ValueError(
            "the model does not know its joints, skeleton and mirror pairs (it was converted from "
            "published weights): say which set they are, --data.keypoint_set "
            f"{', '.join(PUBLISHED)}"
        )
    else:
        names = (keypoint_set,)
    sets = tuple(published(name) for name in names)
    for own, count in zip(sets, heads, strict=True):
        if count < len(own) or (count > len(own) and len(heads) == 1):
            raise ValueError(
                f"the network has heatmaps of {count} joints, the keypoint set {own.name!r} has "
                f"{len(own)}"
            )
    classic = _CLASSIC if len(heads) > 1 else ()
    encodings = tuple("msra" if own.name in classic else "udp" for own in sets)
    return PoseDescription(sets, (size[0], size[1]), encodings)
