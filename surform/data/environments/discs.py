"""Pictures of discs, drawn with NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["draw_discs"]

_GROUND = (245, 245, 240)


def draw_discs(
    discs: Sequence[tuple[np.ndarray, float, tuple[int, int, int]]], size: int
) -> np.ndarray:
    """A picture (size, size, 3) uint8 of the square [-1, 1]², x to the right and y upwards.

    Args:
        discs: (centre (2,), radius, RGB color), the last one on top. Edges are smooth.
        size: pixels of a side.
    """
    places = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = places[None, :], -places[:, None]
    picture = np.full((size, size, 3), _GROUND, np.float32)
    for (centre_x, centre_y), radius, color in discs:
        off = np.hypot(x - np.float32(centre_x), y - np.float32(centre_y))
        # how much of the pixel the disc covers: its edge is about one pixel wide
        cover = np.clip((radius - off) * (size / 2) + 0.5, 0, 1)[..., None]
        picture += cover * (np.array(color, np.float32) - picture)
    return np.round(picture).astype(np.uint8)
