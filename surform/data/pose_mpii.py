"""MPII's annotations as mmpose writes them: a list of persons, counted from pixel 1 as in Matlab.

Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis" (2014). A
person has a place `center` and a size `scale`, a square of 200 `scale` pixels, which mmpose 0.24
moves down by 15 `scale` so that feet are not cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.pose_images import list_images
from surform.data.pose_published import PUBLISHED
from surform.data.pose_records import Persons, PoseFile, empty_persons

__all__ = ["read_mpii"]

_OWN = PUBLISHED["mpii"]
_UNIT = 200.0  # pixels that a scale of 1 stands for
_PERSON = 1  # COCO's number of the category, which detectors give
_DOWN = 15.0  # pixels that a place is moved by at a scale of 1


def read_mpii(
    entries: list[Any], path: Path, images: str | Path | None = None, keypoints: str = "auto"
) -> PoseFile:
    """Persons of a list of objects with image, joints, joints_vis, center and scale.

    Boxes are the squares; areas are not known. Crops of another shape are widened around them, as
    around all boxes: mmpose stretches them.

    Args:
        entries: the content of `path`.
        images: the folder of the images; None looks beside the file, first in its folder "images".
        keypoints: "auto" or "mpii".

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, in which entry.
    """
    if keypoints not in ("auto", _OWN.name):
        raise ValueError(
            f"{path} is a list of persons as MPII has it, whose joints are those of the set "
            f"{_OWN.name}: set keypoints to auto"
        )
    persons = [_person(entry, f"{path}: person {n} (from 0)") for n, entry in enumerate(entries)]
    names = list(dict.fromkeys(entry["image"] for entry in entries))
    place = {name: number for number, name in enumerate(names)}
    listed = list_images(names, range(len(names)), [None] * len(names), images, path)
    values = empty_persons(len(persons), len(_OWN))
    values["image"] = np.array([place[entry["image"]] for entry in entries], np.int64)
    values["ids"] = np.arange(len(persons))
    for name in ("boxes", "keypoints", "flags"):
        values[name] = np.stack([person[name] for person in persons]).astype(values[name].dtype)
    values["area"] = np.full(len(persons), np.nan)
    truth = Persons(**values)
    boxed = truth.boxes[:, 2] > 0
    labelled = (truth.flags > 0).any(1)
    _require_inside(truth, listed.sizes, boxed & labelled, path)
    left_out = {
        "persons without a place": int((~boxed).sum()),
        "persons without a labelled joint": int((boxed & ~labelled).sum()),
    }
    sized = Persons(**{**vars(truth), "area": truth.boxes[:, 2:].prod(1)})
    kept = {what: count for what, count in left_out.items() if count}
    return PoseFile(str(path), _OWN, listed, sized.take(boxed & labelled), truth, (_PERSON,), kept)


def _person(entry: Any, where: str) -> dict[str, np.ndarray]:
    """Its square (4,), empty where its place is not known, joints (K, 2) and flags (K,)."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise ValueError(
            f"{where} names no image: MPII's lists have image, joints, joints_vis, center, scale"
        )
    count = len(_OWN)
    joints = _numbers(entry, "joints", (count, 2), where)
    shown = _numbers(entry, "joints_vis", (count,), where)
    center, scale = _numbers(entry, "center", (2,), where), _numbers(entry, "scale", (), where)
    wrong = np.flatnonzero(~np.isin(shown, (0, 1)))
    if len(wrong):
        raise ValueError(
            f"{where} has {_OWN.joints[wrong[0]]} with visibility {shown[wrong[0]]:g}, but must "
            "have 0 or 1"
        )
    side = _UNIT * float(scale) if center[0] != -1 else 0.0
    middle = center + (0, _DOWN * float(scale)) - 1
    box = np.array([*(middle - side / 2), side, side])
    known = shown > 0
    return {
        "boxes": box if side > 0 else np.zeros(4),
        "keypoints": np.where(known[:, None], joints - 1, 0),
        "flags": np.where(known, 2, 0),
    }


def _numbers(entry: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        found = np.array(entry.get(key), np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if found.shape != shape or not np.isfinite(found).all():
        wanted = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise ValueError(f"{where} must have {wanted} as its {key}")
    return found


def _require_inside(truth: Persons, sizes: np.ndarray, meant: np.ndarray, path: Path) -> None:
    height, width = sizes[truth.image].T
    left, top, side, _ = truth.boxes.T
    outside = (left >= width) | (top >= height) | (left + side <= 0) | (top + side <= 0)
    wrong = np.flatnonzero(outside & meant)
    if len(wrong):
        n = wrong[0]
        raise ValueError(
            f"{path}: person {n} (from 0) lies outside its image of {width[n]} x {height[n]} "
            "pixels (width x height)"
        )
