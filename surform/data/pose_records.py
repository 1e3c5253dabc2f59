"""Persons and images of one annotation file, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from surform.data.images_files import read_image
from surform.data.pose_keypoints import KeypointSet

__all__ = ["ImageList", "Persons", "PoseFile"]


@dataclass(frozen=True)
class ImageList:
    """The images that an annotation file names.

    Args:
        root: the folder that names are relative to.
        names: of files, M of them.
        ids: (M,) int64, as in the file.
        sizes: (M, 2) int64: height and width in pixels, upright.
    """

    root: Path
    names: tuple[str, ...]
    ids: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def path(self, number: int) -> Path:
        """The file of an image."""
        return self.root / self.names[number]

    def read(self, number: int) -> np.ndarray:
        """(h, w, 3) uint8, upright as its EXIF data say.

        Raises:
            ValueError: a damaged file, or one of another size than the annotations are for.
        """
        image = read_image(self.path(number), 3)
        wanted = tuple(self.sizes[number].tolist())
        if image.shape[:2] != wanted:
            found = f"{image.shape[0]} x {image.shape[1]}"
            turned = image.shape[1::-1] == wanted
            hint = " (its EXIF data turn it: annotate upright photos)" if turned else ""
            raise ValueError(
                f"{self.path(number)} is {found} pixels{hint}, but its annotations are for "
                f"{wanted[0]} x {wanted[1]}"
            )
        return image


@dataclass(frozen=True)
class Persons:
    """Persons or animals, P of them, with K joints each.

    Args:
        image: (P,) numbers of their images in the `ImageList`.
        boxes: (P, 4) float64: left, top, width, height in pixels.
        area: (P,) float64 in pixels; where the file says nothing the box's, or NaN in `truth`.
        keypoints: (P, K, 2) float32: (x, y) in pixels of the image; 0 where not labelled.
        flags: (P, K) int64: 0 not labelled, 1 hidden, 2 visible.
        ids: (P,) int64 of the annotations; -1 for detections.
        score: (P,) float64 of the boxes.
        crowd: (P,) bool: a box around many, which evaluation leaves out.
        category: (P,) int64, numbers of their categories in the file.
    """

    image: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    keypoints: np.ndarray
    flags: np.ndarray
    ids: np.ndarray
    score: np.ndarray
    crowd: np.ndarray
    category: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def take(self, chosen: np.ndarray) -> Persons:
        """Those that `chosen` (numbers, or P booleans) names."""
        return replace(
            self, **{item.name: getattr(self, item.name)[chosen] for item in fields(self)}
        )

    def of_images(self, images: np.ndarray) -> Persons:
        """Those in the images with these numbers."""
        return self.take(np.isin(self.image, images))


@dataclass(frozen=True)
class PoseFile:
    """What one annotation file holds.

    Args:
        name: of the file, for messages.
        own: the set that its joints belong to.
        images: that it names.
        persons: that can be trained on: not crowds, with labelled joints and a box, clipped to the
            image as in mmpose.
        truth: all annotations of the set's categories, as they stand: what evaluation counts.
        categories: numbers of the set's categories in the file.
        left_out: what was left out of `persons`, in words, and how often.
    """

    name: str
    own: KeypointSet
    images: ImageList
    persons: Persons
    truth: Persons
    categories: tuple[int, ...]
    left_out: dict[str, int] = field(default_factory=dict)


def empty_persons(count: int, joints: int) -> dict[str, np.ndarray]:
    """Arrays of `count` persons without joints, by the names of `Persons`."""
    return {
        "image": np.zeros(count, np.int64),
        "boxes": np.zeros((count, 4)),
        "area": np.zeros(count),
        "keypoints": np.zeros((count, joints, 2), np.float32),
        "flags": np.zeros((count, joints), np.int64),
        "ids": np.full(count, -1, np.int64),
        "score": np.ones(count),
        "crowd": np.zeros(count, bool),
        "category": np.ones(count, np.int64),
    }


def counted(left_out: dict[str, int], where: str) -> list[str]:
    """What was left out, in sentences for reports."""
    return [f"{where}: {count:,} {what} left out." for what, count in left_out.items() if count]


def total(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Sums over several files."""
    found: dict[str, int] = {}
    for part in parts:
        for what, count in part.items():
            found[what] = found.get(what, 0) + count
    return found
