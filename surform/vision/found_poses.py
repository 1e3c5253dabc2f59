"""Poses that a network found in images: columns, scores, and COCO's rows of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

__all__ = ["FoundPoses"]


@dataclass(frozen=True, eq=False)
class FoundPoses:
    """Columns with an entry for every pose.

    Args:
        image_id: (N,) int64.
        keypoints: (N, K, 2) float64, (x, y) in pixels of the image.
        joint_scores: (N, K) float64, heights of the heatmaps' peaks.
        score: (N,) float64: of the box, or of the pose after `rescored`.
        area: (N,) float64 of the crop, in squared pixels of the image.
        boxes: (N, 4) float64: left, top, width, height that the pose was looked for in.
        number: (N,) int64, of the box; a pose is counted once for each.
        category: (N,) int64, COCO's number of the box's category; empty: 1 for all.
    """

    image_id: np.ndarray
    keypoints: np.ndarray
    joint_scores: np.ndarray
    score: np.ndarray
    area: np.ndarray
    boxes: np.ndarray
    number: np.ndarray
    category: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.category):
            object.__setattr__(self, "category", np.ones(len(self), np.int64))

    def __len__(self) -> int:
        """The number of poses."""
        return len(self.image_id)

    @classmethod
    def joined(cls, parts: Sequence[FoundPoses]) -> FoundPoses:
        """All poses of several batches; ValueError when there is none of these."""
        if not parts:
            raise ValueError("there are no poses to join: not a single batch")
        names = [item.name for item in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def rows(self, chosen: np.ndarray) -> FoundPoses:
        """Only some poses: their numbers, or a mask."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def joints(self, chosen: slice | list[int]) -> FoundPoses:
        """Only some joints; scores of poses stay those of all."""
        own = {name: getattr(self, name)[:, chosen] for name in ("keypoints", "joint_scores")}
        return replace(self, **own)

    def once(self) -> FoundPoses:
        """The first pose of every box: several processes may have been given the same one."""
        boxes = np.stack([self.image_id, self.number], 1)
        return self.rows(np.sort(np.unique(boxes, axis=0, return_index=True)[1]))

    def rescored(self, threshold: float = 0.2) -> FoundPoses:
        """Box scores times the mean score of the joints above `threshold`; 0 where none is."""
        sure = self.joint_scores > threshold
        mean = np.where(sure, self.joint_scores, 0).sum(1) / np.maximum(sure.sum(1), 1)
        return replace(self, score=self.score * mean)

    def results(self) -> list[dict[str, Any]]:
        """Rows of a COCO results file; keypoints are x, y, score of each joint.

        `box` is not called bbox: COCO's tool would take its area for the pose's.
        """
        triples = np.concatenate((self.keypoints, self.joint_scores[..., None]), 2)
        return [
            {
                "image_id": int(self.image_id[row]),
                "category_id": int(self.category[row]),
                "keypoints": [round(float(v), 3) for v in triples[row].ravel()],
                "score": float(self.score[row]),
                "box": [round(float(v), 2) for v in self.boxes[row]],
            }
            for row in range(len(self))
        ]
