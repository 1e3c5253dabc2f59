"""The parts of a whole body, each evaluated by itself (Jin et al., arXiv 2007.11858)."""

from __future__ import annotations

from collections.abc import Sequence

from surform.data.pose_truth import PoseTruth
from surform.vision.found_poses import FoundPoses
from surform.vision.keypoint_precision import keypoint_precision

__all__ = ["PARTS", "WHOLE_BODY", "part_precision"]

WHOLE_BODY = "coco_wholebody"  # the keypoint set that has these parts
# the joints of COCO-WholeBody by part, first and one after the last
PARTS = {
    "body": (0, 17),
    "foot": (17, 23),
    "face": (23, 91),
    "left hand": (91, 112),
    "right hand": (112, 133),
    "whole body": (0, 133),
}


def part_precision(
    found: FoundPoses, truth: PoseTruth, sigmas: Sequence[float]
) -> dict[str, dict[str, float]]:
    """`keypoint_precision` of every part: poses keep their scores, areas are the persons'.

    Raises:
        ValueError: not the 133 joints of COCO-WholeBody, or annotations without an area.
    """
    count = truth.keypoints.shape[1]
    if count != PARTS["whole body"][1]:
        raise ValueError(f"parts are those of the 133 joints of a whole body, not of {count}")
    figures = {}
    for name, (start, stop) in PARTS.items():
        own = slice(start, stop)
        figures[name] = keypoint_precision(found.joints(own), truth.joints(own), sigmas[own])
    return figures
