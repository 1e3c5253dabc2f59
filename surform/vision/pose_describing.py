"""What converted weights do not say themselves: which published joints their heatmaps are."""

from __future__ import annotations

from typing import Any

from torch import nn

from surform.data.pose_description import PoseDescription
from surform.data import pose_published as published

__all__ = ["published_description"]

# the sets of published ViTPose+ weights, in the order of their heads, and how these are encoded
_PLUS = ("coco", "aic", "mpii", "ap10k", "apt36k", "coco_wholebody")
_CLASSIC = frozenset({"aic", "ap10k", "apt36k", "coco_wholebody"})


def published_description(net: nn.Module, keypoint_set: str | None) -> PoseDescription:
    """The description of a network with published weights.

    Args:
        keypoint_set: name of the set, where the network has a single head; of ViTPose+ with six heads
            the sets are known.

    Raises:
        ValueError: no set is given, or it has other joints than the network.
    """
    given: dict[str, Any] = net.__dict__.get("arguments", {})
    heads = given["joints"]
    size = tuple(given["image_size"])
    if isinstance(heads, tuple | list):
        names = _PLUS if len(heads) == len(_PLUS) else ()
        if len(names) != len(heads) or keypoint_set is not None:
            raise ValueError(
                f"a vitpose_plus of {len(heads)} heads does not take a keypoint_set: only published "
                "weights of six heads tell their joints; use net.merged(dataset) for one of them"
            )
        encodings = tuple("msra" if name in _CLASSIC else "udp" for name in names)
    elif keypoint_set is None:
        raise ValueError(
            "the model does not know its joints, skeleton and mirror pairs (it was converted from "
            f"published weights): say which set they are, --data.keypoint_set {' or '.join(published.PUBLISHED)}"
        )
    else:
        names, encodings, heads = (keypoint_set,), ("udp",), (heads,)
    sets = tuple(published.keypoint_set(name) for name in names)
    for own, count in zip(sets, heads, strict=True):
        if len(own) != count and not (len(heads) > 1 and count > len(own)):
            raise ValueError(
                f"the network has heatmaps of {count} joints, the keypoint set {own.name!r} has "
                f"{len(own)}"
            )
    return PoseDescription(sets, (size[0], size[1]), encodings)
