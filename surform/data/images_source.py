"""Where images come from, whatever holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["ImageSource", "class_numbers", "one_label_each"]


@dataclass
class ImageSource(ABC):
    """Images with labels, read one by one.

    Args:
        name: for messages.
        classes: names, in the order of the labels' numbers.
        labels: (N,) int64 numbers of classes, or (N, K) probabilities; (0,) where unknown.
        channels: names.
        size: height and width where all images share them, else None.
        eight_bit: whether pixels are uint8, which stands for 0 to 1.
        parts: split -> numbers of its images, where the data are divided already; else {}.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    channels: tuple[str, ...]
    size: tuple[int, int] | None
    eight_bit: bool
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [name for name in self.classes if self.classes.count(name) > 1]
        if twice:
            raise ValueError(f"{self.name} names the class {twice[0]!r} twice")

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def read(self, number: int) -> np.ndarray:
        """(height, width, channels), uint8 or float32."""

    @abstractmethod
    def title(self, number: int) -> str:
        """What an image is called: its file below the folder, or its number."""

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 that tells data sets apart, hexadecimal."""

    def hardest(self) -> np.ndarray:
        """(N,) the number of each image's (most probable) class."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def nbytes(self) -> int:
        """What the decoded images take in memory."""
        return 0


def class_numbers(
    labels: np.ndarray, classes: tuple[str, ...] | None, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers of classes, and the classes' names.

    Args:
        labels: (N,) whole numbers or names, or (N, K) probabilities.
        classes: names; None takes the labels that occur, sorted.

    Raises:
        ValueError: fractions, negative numbers, numbers beyond the classes, no probabilities.
    """
    if labels.ndim == 2:
        return _probabilities(labels, classes, where)
    if labels.dtype.kind in "USO":
        lacking = [at for at, label in enumerate(labels.tolist()) if _is_missing(label)]
        if lacking:
            raise ValueError(f"{where} has no label at image {lacking[0]}")
        found = tuple(sorted({str(label) for label in labels}))
        known = classes or found
        unknown = [name for name in found if name not in known]
        if unknown:
            raise ValueError(f"{where} has the label {unknown[0]!r}, which is none of its classes")
        place = {name: number for number, name in enumerate(known)}
        return np.array([place[str(label)] for label in labels], dtype=np.int64), known
    if not _are_whole(labels):
        raise ValueError(f"the labels of {where} are no whole numbers: give such, or names")
    numbers = labels.astype(np.int64)
    if len(numbers) and numbers.min() < 0:
        at = int(np.argmin(numbers))
        raise ValueError(f"{where} has the label {numbers[at]} at image {at}: classes count from 0")
    if classes is None:
        values, numbers = np.unique(numbers, return_inverse=True)
        return numbers.astype(np.int64), tuple(str(value) for value in values)
    if len(numbers) and numbers.max() >= len(classes):
        at = int(np.argmax(numbers))
        raise ValueError(
            f"{where} has the label {numbers[at]} at image {at}, but names {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
    return numbers, classes


def _is_missing(label: object) -> bool:
    """None, a name of no letters, or the NaN that tables have in empty cells."""
    return label is None or label == "" or label != label


def _are_whole(labels: np.ndarray) -> bool:
    if labels.dtype.kind != "f":
        return labels.dtype.kind in "iub"
    return bool((np.isfinite(labels) & (labels == np.floor(labels)) & (labels < 2**31)).all())


def _probabilities(
    labels: np.ndarray, classes: tuple[str, ...] | None, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    values = labels.astype(np.float32)
    off = np.abs(values.sum(1) - 1) > 1e-3
    if (values < 0).any() or off.any() or not np.isfinite(values).all():
        at = int(np.argmax(off | (values < 0).any(1) | ~np.isfinite(values).all(1)))
        raise ValueError(
            f"the labels of {where} have a row per image, but at image {at} they are no "
            "probabilities that add up to 1"
        )
    names = classes or tuple(map(str, range(values.shape[1])))
    if len(names) != values.shape[1]:
        raise ValueError(
            f"{where} has probabilities of {values.shape[1]} classes, but names {len(names)}"
        )
    return values, names


def one_label_each(images: int, labels: np.ndarray, where: str) -> np.ndarray:
    """Labels as (N,) or (N, K); ValueError unless there is one for each image."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2):
        raise ValueError(f"the labels of {where} have shape {labels.shape}: give one per image")
    if len(labels) != images:
        raise ValueError(f"{where} has {images} images, but {len(labels)} labels")
    return labels
