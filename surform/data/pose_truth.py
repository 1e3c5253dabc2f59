"""Annotated poses of whole images: what an evaluation compares with, crowds included."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

__all__ = ["PoseTruth"]


@dataclass(frozen=True, eq=False)
class PoseTruth:
    """Columns with an entry for every annotation of some images, also those without joints.

    Args:
        image_id: (N,) int64.
        keypoints: (N, K, 2) float64, (x, y) in pixels of the image.
        flags: (N, K) int64, COCO's visibility: 0 not labelled, 1 hidden, 2 visible.
        area: (N,) float64 of the person in pixels of the image; NaN where nothing is said.
        boxes: (N, 4) float64: left, top, width, height.
        crowd: (N,) bool: an annotation stands for several persons.
        labelled: (N,) int64, how many joints the file says are labelled.
        where: what the annotations were read from, for messages.
        category: (N,) int64, COCO's number of each one's category; empty: 1 for all.

    Raises:
        ValueError: columns of different lengths, or keypoints of another shape.
    """

    image_id: np.ndarray
    keypoints: np.ndarray
    flags: np.ndarray
    area: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    labelled: np.ndarray
    where: str = "the annotations"
    category: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        count = len(self.image_id)
        if not len(self.category):
            object.__setattr__(self, "category", np.ones(count, np.int64))
        shapes = {
            "keypoints": (count, *self.flags.shape[1:2], 2),
            "flags": (count, *self.flags.shape[1:2]),
            "boxes": (count, 4),
            **dict.fromkeys(("area", "crowd", "labelled", "category"), (count,)),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(
                    f"{self.where}: {name} has shape {found}, but must have {shape} beside "
                    f"{count} numbers of images"
                )

    def __len__(self) -> int:
        """The number of annotations."""
        return len(self.image_id)

    def joints(self, chosen: slice | list[int]) -> PoseTruth:
        """Only some joints (the feet of a whole body, say), which are counted anew."""
        flags = self.flags[:, chosen]
        counted = (flags > 0).sum(1)
        return replace(self, keypoints=self.keypoints[:, chosen], flags=flags, labelled=counted)

    def rows(self, chosen: np.ndarray) -> PoseTruth:
        """Only some annotations: their numbers, or a mask."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "where"}
        return PoseTruth(**{n: v[chosen] for n, v in columns.items()}, where=self.where)

    def with_areas(self, share: float) -> PoseTruth:
        """Areas that are not known as this share of the box's; 0.53 is that of published tools."""
        boxes = share * self.boxes[:, 2] * self.boxes[:, 3]
        return replace(self, area=np.where(np.isnan(self.area), boxes, self.area))
