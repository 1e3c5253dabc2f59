"""Figures of a whole split of poses: AP and AR per set of keypoints, PCK, errors of joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.pose_batch import PoseBatch
from surform.data.pose_keypoints import KeypointSet
from surform.data.pose_truth import PoseTruth
from surform.vision.body_parts import WHOLE_BODY, part_precision
from surform.vision.found_poses import FoundPoses
from surform.vision.heatmap_decoding import Joints
from surform.vision.keypoint_precision import NAMES, keypoint_precision
from surform.vision.pck import JointAccuracy, Reference, pck, reference_size
from surform.vision.pose_suppression import suppressed

__all__ = ["FIGURES", "PoseScores", "SetFigures", "evaluate_set", "within"]

FIGURES = (*NAMES, "pck", "joint_error")
_AREAS = frozenset(NAMES)  # what needs the persons' areas


@dataclass(frozen=True, eq=False)
class _Part:
    """Poses of one batch and one data set, with their annotations."""

    dataset: int
    found: FoundPoses
    annotated: PoseTruth


@dataclass(frozen=True, eq=False)
class SetFigures:
    """What one data set's poses amount to.

    Args:
        values: figures by name.
        accuracy: of each joint.
        parts: precision of the parts of a whole body; {} of other sets.
    """

    values: dict[str, float]
    accuracy: JointAccuracy
    parts: dict[str, dict[str, float]]

    def rows(self) -> dict[str, np.ndarray]:
        """Rows of numbers for the report; -1 where nothing is known, as COCO's tool says it."""
        found = {
            "pck_of_joints": self.accuracy.right,
            "error_of_joints": self.accuracy.error,
            "annotated_joints": self.accuracy.counted.astype(float),
        }
        if NAMES[0] in self.values:
            found["precision"] = np.array([self.values[name] for name in NAMES])
        found |= {
            f"precision of {part}": np.array([values[name] for name in NAMES])
            for part, values in self.parts.items()
        }
        return {name: np.nan_to_num(row, nan=-1.0) for name, row in found.items()}


@dataclass
class PoseScores:
    """Collects found poses batch by batch, and evaluates them when all are there.

    Args:
        sets: of keypoints, one for each data set.
    """

    sets: Sequence[KeypointSet]
    parts: list[_Part] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of poses."""
        return sum(len(part.found) for part in self.parts)

    def add(self, joints: Joints, batch: PoseBatch) -> None:
        """Take the joints that were found in a batch, in pixels of the image."""
        for dataset in batch.dataset.unique().tolist():
            own = (batch.dataset == dataset).nonzero().flatten()
            count = len(self.sets[dataset])
            at = {name: _array(getattr(batch, name)[own]) for name in _COLUMNS}
            found = FoundPoses(
                image_id=at["image_id"],
                keypoints=_array(joints.xy[own, :count]).astype(np.float64),
                joint_scores=_array(joints.score[own, :count]).astype(np.float64),
                score=at["score"].astype(np.float64),
                area=(200.0 * at["scale"].astype(np.float64)).prod(1),
                boxes=at["boxes"].astype(np.float64),
                number=at["index"],
                category=at["category"],
            )
            annotated = PoseTruth(
                image_id=at["image_id"],
                keypoints=at["keypoints"][:, :count].astype(np.float64),
                flags=at["flags"][:, :count],
                area=at["area"].astype(np.float64),
                boxes=at["boxes"].astype(np.float64),
                crowd=np.zeros(len(own), bool),
                labelled=(at["flags"][:, :count] > 0).sum(1),
                category=at["category"],
            )
            self.parts.append(_Part(dataset, found, annotated))

    def of(self, dataset: int) -> tuple[FoundPoses, PoseTruth] | None:
        """Poses and the annotations of their own crops, every crop once; None without any."""
        mine = [part for part in self.parts if part.dataset == dataset]
        if not mine:
            return None
        found = FoundPoses.joined([part.found for part in mine])
        truth = _joined([part.annotated for part in mine])
        kept = np.sort(np.unique(found.number, return_index=True)[1])
        return found.rows(kept), truth.rows(kept)


def evaluate_set(
    joints: KeypointSet,
    found: FoundPoses,
    annotated: PoseTruth,
    whole: PoseTruth | None,
    figures: Sequence[str],
    *,
    threshold: float = 0.2,
    by: Reference = "box",
    box_area: float | None = None,
) -> SetFigures:
    """Figures of one data set, and how each joint fares.

    Poses are rescored and suppressed as published before AP is computed.

    Args:
        found: poses with the scores of their boxes.
        annotated: of the same crops, row by row.
        whole: all annotations of the images; None: those of the crops.
        figures: of `FIGURES`; precision is computed where one of its numbers is asked for.
        threshold, by: of PCK.
        box_area: areas that are not known are this share of the box's.

    Raises:
        ValueError: AP of annotations without areas.
    """
    values: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    if _AREAS & set(figures):
        truth = annotated if whole is None else whole
        truth = truth if box_area is None else truth.with_areas(box_area)
        kept = suppressed(found.rescored(), joints.sigmas)
        values |= keypoint_precision(kept, truth, joints.sigmas)
        if joints.name == WHOLE_BODY:
            parts = part_precision(kept, truth, joints.sigmas)
    labelled = annotated.flags > 0
    size = reference_size(by, joints, annotated.keypoints, labelled, annotated.boxes)
    accuracy = pck(found.keypoints, annotated.keypoints, labelled, size, threshold)
    values |= {"pck": accuracy.mean, "joint_error": accuracy.mean_error}
    return SetFigures(values, accuracy, parts)


def within(truth: PoseTruth, images: np.ndarray) -> PoseTruth:
    """Only annotations of these images: where a split was evaluated in part."""
    return truth.rows(np.isin(truth.image_id, images))


_COLUMNS = ("image_id", "keypoints", "flags", "area", "boxes", "score", "scale", "index")
_COLUMNS += ("category",)


def _array(value: Tensor) -> np.ndarray:
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()


def _joined(parts: Sequence[PoseTruth]) -> PoseTruth:
    names = ("image_id", "keypoints", "flags", "area", "boxes", "crowd", "labelled", "category")
    columns: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
    return PoseTruth(**columns)
