"""Skeletons drawn over pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from surform.data.pose_keypoints import KeypointSet

__all__ = ["SIDES", "draw_boxes", "draw_poses"]

# of the person's own sides, and of what has none
SIDES = {"left": (47, 111, 214), "right": (214, 69, 47), "middle": (240, 184, 60)}
_TRUTH = (255, 255, 255)
_DARK = (20, 24, 32)
_FINE = 2  # drawn so many times as large, then reduced: smooth edges


def draw_poses(
    image: np.ndarray,
    joints: np.ndarray,
    shown: np.ndarray,
    keypoints: KeypointSet,
    *,
    sizes: np.ndarray | None = None,
    truth: bool = False,
) -> np.ndarray:
    """A copy of the picture with bones and joints over it.

    Args:
        image: (H, W, 3) uint8.
        joints: (N, K, 2), (x, y) in its pixels.
        shown: (N, K) bool; a bone is drawn between two joints that are shown.
        sizes: (N,) of the persons in pixels, which lines are scaled with; None: of the picture.
        truth: as thin white lines, to lie under a prediction.
    """
    canvas = Image.fromarray(image).resize(
        (image.shape[1] * _FINE, image.shape[0] * _FINE), Image.Resampling.BILINEAR
    )
    pen = ImageDraw.Draw(canvas)
    colors = _colors(keypoints)
    for person in range(len(joints)):
        size = max(image.shape[:2]) if sizes is None else float(sizes[person])
        width = _FINE * float(np.clip(size / 90, 1.0, 4.0)) * (0.6 if truth else 1.0)
        at = (joints[person] + 0.5) * _FINE
        visible = shown[person] & np.isfinite(at).all(-1)
        for start, stop in keypoints.skeleton:
            if visible[start] and visible[stop]:
                line = [*map(float, at[start]), *map(float, at[stop])]
                color = _TRUTH if truth else _bone(colors[start], colors[stop])
                pen.line(line, fill=_DARK, width=round(width + _FINE))
                pen.line(line, fill=color, width=max(1, round(width)))
        for joint in np.flatnonzero(visible):
            reach = 1.1 * width
            x, y = map(float, at[joint])
            box = [x - reach, y - reach, x + reach, y + reach]
            pen.ellipse(box, fill=_TRUTH if truth else colors[joint], outline=_DARK)
    small = canvas.resize((image.shape[1], image.shape[0]), Image.Resampling.BOX)
    return np.asarray(small)


def draw_boxes(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy with thin frames: (N, 4), left, top, width, height."""
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for left, top, width, height in boxes.tolist():
        if width >= 1 and height >= 1:
            pen.rectangle([left, top, left + width, top + height], outline=_TRUTH)
    return np.asarray(canvas)


def _colors(keypoints: KeypointSet) -> list[tuple[int, int, int]]:
    colors = [SIDES["middle"]] * len(keypoints)
    for left, right in keypoints.pairs:
        colors[left], colors[right] = SIDES["left"], SIDES["right"]
    return colors


def _bone(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    """The side that a bone belongs to: that of its ends, or of the end that has one."""
    if one == other:
        return one
    sides = [color for color in (one, other) if color != SIDES["middle"]]
    return sides[0] if len(sides) == 1 else SIDES["middle"]
