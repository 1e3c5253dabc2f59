"""PCK: the share of joints nearer to the annotated ones than a part of the person's size.

Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts" (2013); by heads:
Andriluka et al., "2D Human Pose Estimation" (MPII, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from surform.data.pose_keypoints import KeypointSet
from surform.layers.checks import one_of

__all__ = ["REFERENCES", "JointAccuracy", "Reference", "pck", "reference_size"]

Reference = Literal["box", "head", "torso"]
REFERENCES = ("box", "head", "torso")
# joints whose distance is the size, by the names that published sets give them
_ENDS = {
    "head": (("head_top", "top_head", "head"), ("upper_neck", "neck")),
    "torso": (("left_shoulder",), ("right_hip",)),
}


@dataclass(frozen=True, eq=False)
class JointAccuracy:
    """How many joints are right, and how far off they are.

    Args:
        right: (K,), share of each joint's annotations; NaN for joints that none shows.
        error: (K,), mean distance in pixels of the image; NaN likewise.
        relative: (K,), mean distance in sizes of the person.
        counted: (K,), annotations of each joint.
    """

    right: np.ndarray
    error: np.ndarray
    relative: np.ndarray
    counted: np.ndarray

    @property
    def mean(self) -> float:
        """Mean share over the joints that were annotated; NaN where none was."""
        return _mean(self.right)

    @property
    def mean_error(self) -> float:
        """Mean distance over all annotated joints, in pixels of the image."""
        total = self.counted.sum()
        return float(np.nansum(self.error * self.counted) / total) if total else float("nan")


def pck(
    joints: np.ndarray,
    truth: np.ndarray,
    labelled: np.ndarray,
    size: np.ndarray,
    threshold: float = 0.2,
) -> JointAccuracy:
    """Compare found joints with annotated ones.

    Args:
        joints, truth: (N, K, 2), in pixels of the image.
        labelled: (N, K) bool, which count.
        size: (N,) of the persons, in pixels; those that are NaN or not positive do not count.
        threshold: share of the size within which a joint is right.

    Raises:
        ValueError: a threshold that is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}, but must be positive")
    known = np.nan_to_num(size, nan=0.0) > 0
    counted = labelled & known[:, None]
    distance = np.linalg.norm(joints - truth, axis=-1)
    relative = distance / np.where(known, size, 1.0)[:, None]
    total = counted.sum(0)

    def mean(values: np.ndarray) -> np.ndarray:
        found = np.where(counted, values, 0).sum(0) / np.maximum(total, 1)
        return np.where(total > 0, found, np.nan)

    return JointAccuracy(mean(relative < threshold), mean(distance), mean(relative), total)


def reference_size(
    by: Reference, joints: KeypointSet, truth: np.ndarray, labelled: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """(N,): the size of every person in pixels of the image.

    Args:
        by: "box", its longer side; "head", from its top to the neck; "torso", from the left
            shoulder to the right hip. NaN where one of these joints is not annotated.
        joints: what the joints are.
        truth: (N, K, 2) annotated joints.
        labelled: (N, K), which are known.
        boxes: (N, 4), left, top, width, height.

    Raises:
        ValueError: there are no such joints.
    """
    one_of("pck_by", by, REFERENCES)
    if by == "box":
        return boxes[:, 2:].max(-1)
    ends = []
    for names in _ENDS[by]:
        found = [joints.joints.index(name) for name in names if name in joints.joints]
        if not found:
            raise ValueError(
                f"PCK by {by} needs the joint {' or '.join(names)}, which the keypoint set "
                f"{joints.name!r} does not have: take pck_by box"
            )
        ends.append(found[0])
    one, other = ends
    length = np.linalg.norm(truth[:, one] - truth[:, other], axis=-1)
    return np.where(labelled[:, one] & labelled[:, other], length, np.nan)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
