"""`surform info` on images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surform.data.images_arrays import DIGITS
from surform.data.images_open import holds_images, open_images, open_new_images

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["is_images", "show_images"]


def is_images(path: str) -> bool:
    """Whether a path holds images, or is the word for those that need none."""
    return path == DIGITS or holds_images(path)


def show_images(console: Console, path: str) -> None:
    """How many images of what size, and how many of each class."""
    try:
        source = open_images(path)
    except ValueError:  # a picture, or pictures without classes
        source = open_new_images(path, 3)
    size = "several sizes" if source.size is None else "{} x {} pixels".format(*source.size)
    kind = "8 bits" if source.eight_bit else "numbers as they are"
    console.print(f"{path}: {len(source):,} images", style="bold", soft_wrap=True)
    console.print(f"{size}, {', '.join(source.channels)}, {kind}", soft_wrap=True)
    for split, numbers in source.parts.items():
        console.print(f"{split}: {len(numbers):,}")
    if len(source.labels):
        counts = np.bincount(source.hardest(), minlength=len(source.classes))
        shown = [f"{n} {count:,}" for n, count in zip(source.classes, counts, strict=True)]
        more = f", ... ({len(shown)} classes)" if len(shown) > 40 else ""
        console.print(f"classes: {', '.join(shown[:40])}{more}", soft_wrap=True)
