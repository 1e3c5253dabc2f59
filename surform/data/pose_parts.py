"""Which persons train, validate and test; all persons of an image do the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from surform.data.pose_detections import read_detections
from surform.data.pose_open import PoseSet
from surform.data.pose_records import ImageList, Persons, PoseFile, counted
from surform.data.split_sources import default_split
from surform.data.splits import SPLITS, split_samples

__all__ = ["PosePart", "divide_poses"]


@dataclass(frozen=True)
class PosePart:
    """One data set's share of a split.

    Args:
        dataset: number of its head.
        origin: the data set.
        images: of the file, all of them.
        numbers: those of the split.
        persons: that are cropped: annotated, or detected.
        truth: all annotations of these images, for evaluation.
    """

    dataset: int
    origin: PoseSet
    images: ImageList
    numbers: np.ndarray
    persons: Persons
    truth: Persons


def divide_poses(
    sets: list[PoseSet], split: Mapping[str, float] | None, seed: int, threshold: float
) -> tuple[dict[str, list[PosePart]], list[str]]:
    """Parts of each split, and what was left out, in sentences.

    Args:
        split: "train", "validation", "test" -> a count or a fraction of the images of data sets
            that are not divided; None: 10 per cent for validation, and as many for a test.
        seed: of the choice, which depends on nothing else.
        threshold: least score of detected boxes.

    Raises:
        ValueError: a split without persons, or data that are divided twice.
    """
    found: dict[str, list[PosePart]] = {}
    remarks: list[str] = []
    for dataset, origin in enumerate(sets):
        for file in origin.files.values():
            remarks += counted(file.left_out, file.name)
        for name, numbers in _numbers(origin, split, seed).items():
            file = origin.files.get(name) or origin.files[""]
            persons = file.persons
            if name in origin.detections:
                persons, left_out = read_detections(origin.detections[name], file, threshold)
                remarks += counted(left_out, origin.detections[name])
            part = PosePart(
                dataset=dataset,
                origin=origin,
                images=file.images,
                numbers=numbers,
                persons=persons.of_images(numbers),
                truth=file.truth.of_images(numbers),
            )
            if not len(part.persons):
                raise ValueError(
                    f"the {name} split of {file.name} has {len(numbers)} images, but no person "
                    "with a box and a labelled joint: take a larger split, or other images"
                )
            found.setdefault(name, []).append(part)
    return {name: found[name] for name in SPLITS if name in found}, list(dict.fromkeys(remarks))


def _numbers(
    origin: PoseSet, split: Mapping[str, float] | None, seed: int
) -> dict[str, np.ndarray]:
    """Images of each split, in the order of their numbers."""
    if "" not in origin.files:
        if split is not None:
            raise ValueError(
                f"split is given, but {origin.name} is divided into files already: leave one out"
            )
        return {name: np.arange(len(file.images)) for name, file in origin.files.items()}
    file = origin.files[""]
    count = len(file.images)
    _require_once(file)
    if split is None:
        split = default_split(count, ["validation", "test"], file.name)
    order = np.random.default_rng([seed, count]).permutation(count)
    return {
        name: np.sort(order[chosen.start : chosen.stop])
        for name, chosen in split_samples(split, count, file.name).items()
    }


def _require_once(file: PoseFile) -> None:
    """ValueError where an image has two numbers: it might train and test."""
    names = file.images.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        one, other = [n for n, name in enumerate(names) if name == twice][:2]
        raise ValueError(
            f"{file.name} has the image {twice} under the numbers {file.images.ids[one]} and "
            f"{file.images.ids[other]}: give it one, so that it falls into one split"
        )
