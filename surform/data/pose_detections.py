"""Boxes that a detector found, in COCO's results format, as persons to be cropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surform.data.json_file import read_json
from surform.data.pose_records import Persons, PoseFile, empty_persons

__all__ = ["read_detections"]


def read_detections(
    path: str | Path, found_in: PoseFile, threshold: float = 0.0
) -> tuple[Persons, dict[str, int]]:
    """Detected boxes of the images of `found_in`, and what was left out.

    Args:
        path: a JSON list of objects with image_id, bbox (left, top, width, height), score, and
            perhaps category_id.
        found_in: the annotation file whose images are meant.
        threshold: boxes with a lower score are left out.

    Raises:
        ValueError: no such list, a box without score, or no box in any image of the file.
    """
    path = Path(path)
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise ValueError(
            f"{path} is no list of detections: it needs objects with image_id, bbox and score"
        )
    place = {number: n for n, number in enumerate(found_in.images.ids.tolist())}
    left_out = {"detections of other images": 0, "detections of other categories": 0}
    left_out[f"detections with a score below {threshold:g}"] = 0
    left_out["detections without area"] = 0
    rows: list[tuple[int, np.ndarray, float, int]] = []
    for number, entry in enumerate(entries):
        where = f"{path}: detection {number} (from 0)"
        image, box, score, category = _checked(entry, where, found_in)
        why = _reason(image in place, category in found_in.categories, box, score, threshold)
        if why is None:
            rows.append((place[image], box, score, category))
        else:
            left_out[list(left_out)[why]] += 1
    if not rows:
        raise ValueError(
            f"{path} has no box in any image of {found_in.name}: of {len(entries):,} detections, "
            + ", ".join(f"{count:,} are {what}" for what, count in left_out.items() if count)
        )
    values = empty_persons(len(rows), len(found_in.own))
    values["image"] = np.array([row[0] for row in rows], np.int64)
    values["boxes"] = np.stack([row[1] for row in rows])
    values["area"] = values["boxes"][:, 2:].prod(1)
    values["score"] = np.array([row[2] for row in rows])
    values["category"] = np.array([row[3] for row in rows], np.int64)
    return Persons(**values), {what: count for what, count in left_out.items() if count}


def _reason(
    known: bool, meant: bool, box: np.ndarray, score: float, threshold: float
) -> int | None:
    """Why a detection is left out, as a number; None where it is not."""
    reasons = (not known, not meant, score < threshold, (box[2:] <= 0).any())
    return next((n for n, holds in enumerate(reasons) if holds), None)


def _checked(entry: Any, where: str, found_in: PoseFile) -> tuple[int, np.ndarray, float, int]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no JSON object")
    try:
        box = np.array(entry["bbox"], np.float64)
        score = float(entry["score"])
        image = int(entry["image_id"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{where} lacks an image_id, a bbox or a score that are numbers"
        ) from error
    if box.shape != (4,) or not np.isfinite(box).all() or not np.isfinite(score):
        raise ValueError(
            f"{where} has the box {entry['bbox']} with score {score}: both must be finite"
        )
    category = entry.get("category_id")
    if category is None and len(found_in.categories) == 1:
        category = found_in.categories[0]
    if not isinstance(category, int):
        raise ValueError(
            f"{where} has the category_id {category!r}, but must have one of the "
            f"{len(found_in.categories)} of {found_in.name}"
        )
    return image, box, score, category
