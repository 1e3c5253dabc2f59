"""Crops of one split as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from surform.data.pose_batch import PoseBatch
from surform.data.pose_crops import center_scale, crop_matrix, cut, joints_in_crop
from surform.data.pose_parts import PosePart
from surform.data.pose_records import ImageList
from surform.data.pose_variation import PoseVariation, View

__all__ = ["ImageCache", "PoseSamples"]

_JITTER_PROBABILITY, _JITTER = 0.3, 0.2  # of centres in training, in sizes of the box


class ImageCache:
    """Decoded images, as far as they are held."""

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}

    def read(self, images: ImageList, number: int) -> np.ndarray:
        """(h, w, 3) uint8."""
        key = str(images.path(number))
        found = self.held.get(key)
        return images.read(number) if found is None else found

    def hold(self, parts: Sequence[PosePart], progress: Callable[[float], None]) -> None:
        """Decode the images in which somebody is cropped, so that damaged ones are found now."""
        wanted = [
            (part.images, n) for part in parts for n in np.unique(part.persons.image).tolist()
        ]
        for done, (images, number) in enumerate(wanted, start=1):
            key = str(images.path(number))
            if key not in self.held:
                self.held[key] = images.read(number)
            progress(done / len(wanted))

    def nbytes(self) -> int:
        """What is held takes so much memory."""
        return sum(image.nbytes for image in self.held.values())


class PoseSamples:
    """Batches of a split, cropped for evaluation or varied for training.

    Training varies a person as a function of (seed, epoch, person) alone. A list of numbers n asks
    for person n modulo the number of persons in epoch n divided by it, as in `ImageSamples`.

    Args:
        parts: of the split, one for each data set; persons are numbered through.
        image_size: height and width of crops.
        padding: how much larger crops are than boxes.
        variation: of training; None crops as evaluation does.
        jitter: how training moves centres, of three persons in ten: "frozen" once for all epochs,
            as published, "fresh" in each, or "none".
        seed: of all chances.
        cache: of decoded images; None reads files.
        joints: of the largest set of the run; None: of the largest of the split.
    """

    def __init__(
        self,
        parts: Sequence[PosePart],
        image_size: tuple[int, int],
        padding: float = 1.25,
        variation: PoseVariation | None = None,
        jitter: str = "frozen",
        seed: int = 0,
        cache: ImageCache | None = None,
        joints: int | None = None,
    ) -> None:
        self.parts, self.image_size, self.padding = tuple(parts), image_size, padding
        self.variation, self.jitter, self.seed = variation, jitter, seed
        self.cache = cache or ImageCache()
        self.joints = joints or max(len(part.origin.own) for part in self.parts)
        self._starts = np.cumsum([0, *(len(part.persons) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, asked: Sequence[int]) -> PoseBatch:
        rows = [self._sample(*divmod(int(number), len(self))) for number in asked]
        fields = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return PoseBatch(**{name: torch.from_numpy(values) for name, values in fields.items()})

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """The image of each person, and the number of its annotation."""
        found = [self._place(int(number)) for number in index.tolist()]
        return {
            "name": [part.images.names[int(part.persons.image[n])] for part, n in found],
            "annotation": [int(part.persons.ids[n]) for part, n in found],
        }

    def view(self, number: int, epoch: int = 0) -> View:
        """How person `number` is seen in an epoch; in evaluation always in the same way."""
        part, n = self._place(number)
        persons = part.persons
        generator = np.random.default_rng([self.seed, epoch, number])
        moved = self._jitter(number, generator) if self.variation is not None else None
        center, scale = center_scale(persons.boxes[n], self.image_size, self.padding, moved)
        joints = persons.keypoints[n].astype(np.float64)
        view = View(joints, (persons.flags[n] > 0).astype(np.float64), center, scale)
        if self.variation is None:
            return view
        width = int(part.images.sizes[persons.image[n], 1])
        return self.variation(view, part.origin.own, width, self.image_size, generator)

    def _jitter(self, number: int, generator: np.random.Generator) -> np.ndarray | None:
        if self.jitter == "none":
            return None
        if self.jitter == "frozen":
            generator = np.random.default_rng([self.seed, number])
        chance, *shift = generator.random(3)
        moved = _JITTER * (2 * np.array(shift) - 1)
        return moved if chance < _JITTER_PROBABILITY else None

    def _place(self, number: int) -> tuple[PosePart, int]:
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.parts[part], number - int(self._starts[part])

    def _sample(self, epoch: int, number: int) -> dict[str, Any]:
        part, n = self._place(number)
        persons, aligned = part.persons, part.origin.aligned
        view = self.view(number, epoch)
        matrix = crop_matrix(
            view.center, view.scale, view.rotation, self.image_size, aligned=aligned
        )
        joints = joints_in_crop(view.joints, view.visible, matrix, aligned=aligned)
        image = self.cache.read(part.images, int(persons.image[n]))
        if view.mirrored:  # from the image as it is to its mirror image, then to the crop
            matrix = matrix @ np.array([[-1, 0, image.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
        return {
            "images": cut(image, matrix, self.image_size),
            "joints": self._wide(np.where(view.visible[:, None] > 0, joints, 0)),
            "visible": self._wide(view.visible),
            "dataset": np.int64(part.dataset),
            "center": view.center.astype(np.float32),
            "scale": view.scale.astype(np.float32),
            "boxes": persons.boxes[n].astype(np.float32),
            "area": np.float32(persons.area[n]),
            "keypoints": self._wide(persons.keypoints[n]),
            "flags": self._wide(persons.flags[n], np.int64),
            "score": np.float32(persons.score[n]),
            "image_id": part.images.ids[persons.image[n]],
            "annotation_id": persons.ids[n],
            "category": persons.category[n],
            "index": np.int64(number),
        }

    def _wide(self, values: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Values of one's own joints, zeros for those that only other sets have."""
        found = np.zeros((self.joints, *values.shape[1:]), dtype)
        found[: len(values)] = values
        return found
