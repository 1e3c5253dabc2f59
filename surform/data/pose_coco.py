"""Keypoint annotations in COCO's JSON: COCO, COCO-WholeBody, AP-10K, MPII, AIC, one's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.json_file import read_json
from surform.data.pose_images import list_images
from surform.data.pose_keypoints import KeypointSet, set_of_category
from surform.data.pose_mpii import read_mpii
from surform.data.pose_published import PUBLISHED, keypoint_set
from surform.data.pose_records import ImageList, Persons, PoseFile, empty_persons
from surform.data.pose_trainable import trainable

__all__ = ["read_poses"]

_PARTS = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
_LARGEST = 2**63  # numbers of images and annotations are smaller
_BODY = 17  # joints of COCO-WholeBody's field "keypoints"


def read_poses(
    path: str | Path, images: str | Path | None = None, keypoints: str = "auto"
) -> PoseFile:
    """Read an annotation file and look whether its images are there.

    Args:
        path: of the JSON; one that holds a list is read as `read_mpii` does.
        images: the folder of the images; None looks beside the file, first in its folder "images".
        keypoints: the name of a published set; "file": joints as the file names them; "auto": the
            published set of the same joints where there is one.

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, in which file and annotation.
    """
    path = Path(path)
    values = read_json(path)
    if isinstance(values, list) and values:
        return read_mpii(values, path, images, keypoints)
    if not isinstance(values, dict) or not all(
        isinstance(values.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ValueError(
            f"{path} is no COCO file of keypoints: it needs the lists images, annotations and "
            "categories"
        )
    categories = _by_id(values["categories"], "category", path)
    own = _own_set(categories, keypoints, path)
    chosen = _chosen(categories, own, path)
    listed = _listed(values["images"], images, path)
    kept, left_out = [], {}
    for annotation in values["annotations"]:
        _check_belongs(annotation, categories, path)
        if annotation["category_id"] in chosen:
            kept.append(annotation)
    others = len(values["annotations"]) - len(kept)
    if others:
        left_out["annotations of other categories"] = others
    _by_id(kept, "annotation", path)
    whole = sum(next(iter(_PARTS)) in annotation for annotation in kept)
    if whole and own.name != "coco_wholebody":
        left_out["annotations' feet, faces and hands (keypoints coco_wholebody takes them)"] = whole
    truth = _truth(kept, own, listed, path)
    persons, more = trainable(truth, kept, listed, path)
    return PoseFile(str(path), own, listed, persons, truth, tuple(chosen), left_out | more)


def _by_id(entries: Sequence[Any], what: str, path: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for place, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"{path}: {what} {place} (from 0) has no whole number as its id")
        if not -_LARGEST <= number < _LARGEST:
            raise ValueError(f"{path}: the {what} id {number} needs more than 64 bits")
        if number in found:
            raise ValueError(f"{path}: the id {number} belongs to more than one {what}")
        found[number] = entry
    return found


def _own_set(categories: Mapping[int, dict[str, Any]], keypoints: str, path: Path) -> KeypointSet:
    named = [c for c in categories.values() if c.get("keypoints")]
    if keypoints not in ("auto", "file"):
        own = keypoint_set(keypoints)
        for category in named:
            _require_same_joints(category, own, path)
        return own
    if not named:
        raise ValueError(
            f"no category of {path} names its keypoints: set keypoints to one of "
            f"{', '.join(PUBLISHED)}, or add them to the file"
        )
    for category in named[1:]:
        if category["keypoints"] != named[0]["keypoints"]:
            raise ValueError(
                f"the categories {named[0].get('name')!r} and {category.get('name')!r} of {path} "
                "have different keypoints: give each a file of its own, as data sets that are mixed"
            )
    found = set_of_category(named[0], str(path))
    if keypoints == "auto":
        for published in PUBLISHED.values():
            if _plain(published.joints) == _plain(found.joints):
                return published
    if len(named) > 1:
        names = tuple(str(category.get("name")) for category in named)
        return KeypointSet(**{**vars(found), "name": path.stem, "categories": names})
    return found


def _require_same_joints(category: Mapping[str, Any], own: KeypointSet, path: Path) -> None:
    """The file's joints where they must be `own`; names may differ, left and right may not."""
    joints = category["keypoints"]
    wanted = own.joints[: len(joints)] if own.name == "coco_wholebody" else own.joints
    if len(joints) not in (len(own), _BODY if own.name == "coco_wholebody" else -1):
        raise ValueError(
            f"the category {category.get('name')!r} of {path} has {len(joints)} keypoints, the set "
            f"{own.name} {len(own)}"
        )
    found, expected = _plain(joints), _plain(wanted)
    if found != expected and set(found) == set(expected):
        place = next(
            n for n, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1
        )
        raise ValueError(
            f"{path} has the keypoints of the set {own.name} in another order: number {place} is "
            f"{joints[place]!r} there, and {wanted[place]!r} in the set"
        )


def _plain(joints: Sequence[str]) -> list[str]:
    return [joint.lower().replace("-", "_").replace(" ", "_") for joint in joints]


def _chosen(
    categories: Mapping[int, dict[str, Any]], own: KeypointSet, path: Path
) -> dict[int, dict[str, Any]]:
    """The categories whose annotations are meant."""
    if own.categories:
        found = {n: c for n, c in categories.items() if c.get("name") in own.categories}
    else:
        found = dict(categories)
    if not found and len(categories) == 1:
        found = dict(categories)
    if not found:
        names = ", ".join(sorted(str(c.get("name")) for c in categories.values()))
        raise ValueError(
            f"{path} has no category {' or '.join(map(repr, own.categories))}, but {names}"
        )
    return found


def _check_belongs(annotation: Any, categories: Mapping[int, Any], path: Path) -> None:
    if not isinstance(annotation, dict):
        raise ValueError(f"{path}: an annotation is no JSON object: {str(annotation)[:40]}")
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in categories:
        raise ValueError(
            f"{path}: annotation {annotation.get('id')} is of category {category!r}, which the "
            f"file does not have (it has {', '.join(map(str, categories))})"
        )


def _listed(entries: list[Any], images: str | Path | None, path: Path) -> ImageList:
    by_id = _by_id(entries, "image", path)
    if not by_id:
        raise ValueError(f"{path} names no images")
    names, sizes = [], []
    for number, entry in by_id.items():
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{path}: image {number} has no file_name")
        names.append(name)
        size = entry.get("height"), entry.get("width")
        sizes.append(None if None in size else size)
    return list_images(names, list(by_id), sizes, images, path)


def _truth(
    annotations: Sequence[dict[str, Any]], own: KeypointSet, images: ImageList, path: Path
) -> Persons:
    place = {number: n for n, number in enumerate(images.ids.tolist())}
    found = empty_persons(len(annotations), len(own))
    for n, annotation in enumerate(annotations):
        where = f"{path}: annotation {annotation['id']}"
        image = annotation.get("image_id")
        if not isinstance(image, int) or image not in place:
            raise ValueError(f"{where} is of image {image!r}, which the file does not name")
        found["image"][n] = place[image]
        found["ids"][n] = annotation["id"]
        found["category"][n] = annotation["category_id"]
        found["boxes"][n] = _box(annotation.get("bbox"), where)
        found["area"][n] = _area(annotation.get("area"), where)
        crowd = annotation.get("iscrowd") or 0
        if crowd not in (0, 1):
            raise ValueError(f"{where} has iscrowd {crowd!r}, but must have 0 or 1")
        found["crowd"][n] = crowd
        if annotation.get("keypoints") is not None and (annotation["keypoints"] or not crowd):
            found["keypoints"][n], found["flags"][n] = _joints(annotation, own, where)
    return Persons(**found)


def _box(values: Any, where: str) -> np.ndarray:
    try:
        box = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        box = np.zeros(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
        raise ValueError(
            f"{where} has the box {values}, but must have left, top, width and height in pixels"
        )
    return box


def _area(value: Any, where: str) -> float:
    """NaN where nothing is said."""
    if value is None or value != value:
        return np.nan
    if not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{where} has the area {value!r}, but must have square pixels")
    return value


def _joints(
    annotation: Mapping[str, Any], own: KeypointSet, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """(K, 2) places and (K,) flags; those that are not labelled lie at 0."""
    if own.name == "coco_wholebody" and "foot_kpts" in annotation:
        body = _triples(annotation.get("keypoints"), _BODY, "keypoints", where)
        parts = [_triples(annotation.get(key), n, key, where) for key, n in _PARTS.items()]
        for part in parts:  # confidences of the tool that found them
            part[:, 2] = np.where(part[:, 2] > 0, part[:, 2].round().clip(1, 2), 0)
        triples = np.concatenate((body, *parts))
    else:
        triples = _triples(annotation.get("keypoints"), len(own), "keypoints", where)
    flags = triples[:, 2]
    wrong = ~np.isin(flags, (0, 1, 2))
    if wrong.any():
        joint = int(np.argmax(wrong))
        raise ValueError(
            f"{where} has {own.joints[joint]} with visibility {flags[joint]:g}, but must have 0 "
            "(not labelled), 1 (hidden) or 2 (visible)"
        )
    broken = (flags > 0) & ~np.isfinite(triples[:, :2]).all(1)
    if broken.any():
        joint = own.joints[int(np.argmax(broken))]
        raise ValueError(f"{where} has {joint} at a place that is no finite number")
    return np.where(flags[:, None] > 0, triples[:, :2], 0), flags.astype(np.int64)


def _triples(values: Any, count: int, key: str, where: str) -> np.ndarray:
    try:
        found = np.array([] if values is None else values, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    if len(found) != 3 * count:
        raise ValueError(
            f"{where} has {len(found)} numbers in {key}, but {count} joints need {3 * count} "
            "(x, y, visibility)"
        )
    return found.reshape(count, 3)
