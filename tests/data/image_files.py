"""Small image data for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["arrays", "folder", "picture"]

CLASSES = ("cat", "dog", "owl")


def picture(seed: int, label: int, size: tuple[int, int] = (12, 12)) -> np.ndarray:
    """(h, w, 3) uint8 noise whose brightest channel tells the class."""
    pixels = np.random.default_rng(seed).integers(0, 120, (*size, 3)).astype(np.uint8)
    pixels[..., label] += 120
    return pixels


def folder(root: Path, each: int = 6, splits: tuple[str, ...] = ()) -> Path:
    """A folder for each class with so many PNG files, perhaps below folders of splits."""
    for holder in splits or ("",):
        for label, name in enumerate(CLASSES):
            place = root / holder / name
            place.mkdir(parents=True)
            for number in range(each):
                pixels = picture(len(holder) + 10 * label + number, label)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def arrays(count: int = 30, size: tuple[int, int] = (8, 8)) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, h, w, 3) uint8 and labels (N,)."""
    labels = np.arange(count) % 3
    return np.stack([picture(i, int(label), size) for i, label in enumerate(labels)]), labels
