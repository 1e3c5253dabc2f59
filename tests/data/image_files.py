"""Small image data for tests."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["arrays", "deep_png", "folder", "picture"]

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


def deep_png(channels: int) -> bytes:
    """A PNG of 3 x 2 pixels with 16 bits each: grey, grey and alpha, colors, colors and alpha."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = (b"\0" + b"\x12\x34" * (2 * channels)) * 3
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 3, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
