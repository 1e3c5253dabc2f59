"""Small pose data for tests: pictures in which every joint has a colour of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from surform.data.pose_published import keypoint_set

__all__ = ["COCO", "SIZE", "annotation", "color", "document", "places", "write"]

COCO = keypoint_set("coco")
SIZE = (96, 128)  # height and width
BLOCK = 4  # pixels around a joint that have its colour


def color(joint: int) -> np.ndarray:
    """A colour for each of up to 27 joints, far from the others."""
    return np.array([60 + 90 * (joint // 3**n % 3) for n in range(3)], np.uint8)


def places(joints: int = 17) -> np.ndarray:
    """(K, 2) places of the joints, on a lattice of 12 pixels."""
    number = np.arange(joints)
    return np.stack((24 + 13 * (number % 6), 14 + 17 * (number // 6)), 1).astype(float)


def painted(joints: int = 17) -> np.ndarray:
    """The picture (h, w, 3) of these joints, on black."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for joint, (x, y) in enumerate(places(joints).astype(int)):
        pixels[y - BLOCK : y + BLOCK + 1, x - BLOCK : x + BLOCK + 1] = color(joint)
    return pixels


def annotation(number: int, image: int, joints: int = 17, **changes: Any) -> dict[str, Any]:
    """One annotation of all joints."""
    values = np.concatenate((places(joints), np.full((joints, 1), 2)), 1)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [14, 6, 90, 56],
        "area": 2400.0,
        "iscrowd": 0,
        "num_keypoints": joints,
        "keypoints": values.ravel().tolist(),
    } | changes


def document(images: int = 6, joints: tuple[str, ...] = COCO.joints) -> dict[str, Any]:
    """A COCO file with one person per image."""
    names = [f"{number}.png" for number in range(images)]
    sizes = {"height": SIZE[0], "width": SIZE[1]}
    return {
        "images": [{"id": 10 + n, "file_name": name, **sizes} for n, name in enumerate(names)],
        "annotations": [annotation(100 + n, 10 + n, len(joints)) for n in range(images)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(joints)}],
    }


def write(root: Path, content: dict[str, Any], name: str = "annotations.json") -> Path:
    """Write a file beside its pictures; those that are there already stay."""
    root.mkdir(parents=True, exist_ok=True)
    joints = max((len(c.get("keypoints") or ()) for c in content["categories"]), default=17) or 17
    for image in content["images"]:
        if not (root / image["file_name"]).exists():
            Image.fromarray(painted(min(joints, 17))).save(root / image["file_name"])
    (root / name).write_text(json.dumps(content))
    return root / name
