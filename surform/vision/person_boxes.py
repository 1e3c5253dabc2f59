"""Boxes of persons for images: from a COCO file, a list of detections, arrays, or whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surform.data.json_file import read_json

__all__ = ["ImageBoxes", "read_boxes", "whole_image"]

_DIGITS = 19  # of numbers that 64 bits do not hold


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """The boxes of one image.

    Args:
        image_id: the image's number.
        boxes: (N, 4) float64: left, top, width, height in pixels.
        score: (N,) float64; 1 where nothing else is said.
        category: (N,) int64, of COCO's numbers of categories.
    """

    image_id: int
    boxes: np.ndarray
    score: np.ndarray
    category: np.ndarray


def whole_image(image_id: int, size: tuple[int, int]) -> ImageBoxes:
    """One box around all of an image of (height, width) pixels."""
    height, width = size
    box = np.array([[0.0, 0.0, width, height]])
    return ImageBoxes(image_id, box, np.ones(1), np.ones(1, np.int64))


def read_boxes(source: Any, names: Sequence[str]) -> dict[str, ImageBoxes]:
    """Boxes by the name of the image; images without boxes are left out.

    Args:
        source: a COCO file (`images`, `annotations` with `bbox`), a file with a list of detections
            (`image_id` or `file_name`, `bbox`, `score`), or {name: (N, 4) or (N, 5) with scores}.
            Numbers of images in detections are those in the names ("000000000785.jpg" is 785);
            where a COCO file names them, they are its own.
        names: the images there are.

    Raises:
        FileNotFoundError, ValueError: no such file, or one without usable boxes of these images;
            the sentence names the file and the entry.
    """
    if isinstance(source, Mapping):
        return _given(source, names)
    if not isinstance(source, str | Path):
        raise ValueError(f"boxes are {source!r}, but must be a JSON file, or arrays by image")
    path = Path(source)
    content = read_json(path)
    if isinstance(content, dict):
        rows, numbers = _coco(content, path)
    elif isinstance(content, list):
        rows, numbers = content, {}
    else:
        raise ValueError(
            f"{path} holds neither a COCO file (images, annotations) nor a list of detections"
        )
    if not rows:
        raise ValueError(
            f"{path} holds no boxes: without any, leave boxes out and whole images count"
        )
    return _by_image(rows, numbers, names, path)


def _coco(content: dict[str, Any], path: Path) -> tuple[list[Any], dict[Any, str]]:
    """Annotations that are no crowds, and the names of images by their number."""
    lists = {name: content.get(name) for name in ("images", "annotations")}
    lacking = [name for name, value in lists.items() if not isinstance(value, list)]
    if lacking:
        raise ValueError(f"{path} is no COCO file with boxes: it lacks {' and '.join(lacking)}")
    numbers: dict[Any, str] = {}
    for place, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not {"id", "file_name"} <= set(image):
            raise ValueError(f"{path}, image {place} lacks an id or a file_name")
        numbers[_plain(image["id"])] = str(image["file_name"])
    rows = [row for row in content["annotations"] if not _is_crowd(row)]
    return [{"score": 1.0} | row if isinstance(row, dict) else row for row in rows], numbers


def _is_crowd(row: Any) -> bool:
    return isinstance(row, dict) and bool(row.get("iscrowd"))


class _Row(NamedTuple):
    """One box: its image's number, left, top, width and height, score, category."""

    number: int | None
    box: list[float]
    score: float
    category: int


def _by_image(
    rows: list[Any], numbers: dict[Any, str], names: Sequence[str], path: Path
) -> dict[str, ImageBoxes]:
    held: dict[str, list[_Row]] = {}
    find = _Names(names)
    for place, row in enumerate(rows):
        where = f"{path}, entry {place}"
        box = _box(row, where)
        given = _plain(row.get("image_id"))
        named = row.get("file_name")
        key = numbers.get(given, given) if named is None else named
        name = find(key, where)
        if name is not None:
            number = given if isinstance(given, int) else _number(name)
            held.setdefault(name, []).append(_checked(row, number, box, where))
    if not held:
        raise ValueError(
            f"{path} has boxes, but none of the {len(names)} images (the first one is {names[0]}): "
            "entries name images by file_name, or by image_id where names are numbers"
        )
    places = {name: place for place, name in enumerate(names)}
    return {
        name: ImageBoxes(
            places[name] if (number := entries[0].number) is None else number,
            np.array([entry.box for entry in entries], np.float64),
            np.array([entry.score for entry in entries], np.float64),
            np.array([entry.category for entry in entries], np.int64),
        )
        for name, entries in held.items()
    }


def _checked(row: dict[str, Any], number: int | None, box: list[float], where: str) -> _Row:
    score, category = row.get("score", 1.0), row.get("category_id")
    if not isinstance(score, int | float) or not np.isfinite(score):
        raise ValueError(f"{where} has the score {score!r}, which is no number")
    if not isinstance(category, int | None):
        raise ValueError(f"{where} has the category_id {category!r}, which is no whole number")
    return _Row(number, box, score, 1 if category is None else category)


def _plain(number: Any) -> Any:
    """A whole number that is written as a float or a word, as itself."""
    if isinstance(number, str) and number.isdecimal() and len(number) < _DIGITS:
        return int(number)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, int | str) else str(number)


class _Names:
    """Images by their whole name, the name of their file alone, or the number in it.

    Names may be written with the backslashes of Windows.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = set(names)
        self.alike: dict[Any, list[str]] = {}
        for name in names:
            for key in {Path(name).name, _number(name)} - {None}:
                self.alike.setdefault(key, []).append(name)

    def __call__(self, key: Any, where: str) -> str | None:
        """The image that is meant; None where it is not there; ValueError where several might."""
        if not isinstance(key, str):
            return self._alone(key, key, where)
        slashed = key.replace("\\", "/")
        whole = next((name for name in (key, slashed) if name in self.names), None)
        return self._alone(Path(slashed).name, key, where) if whole is None else whole

    def _alone(self, name: Any, key: Any, where: str) -> str | None:
        found = self.alike.get(name, [])
        if len(found) > 1:
            raise ValueError(
                f"{where} is of {key!r}, which may be {found[0]} or {found[1]}: name images by "
                "file_name, with their folders"
            )
        return found[0] if found else None


def _box(row: Any, where: str) -> list[float]:
    box = row.get("bbox") if isinstance(row, dict) else None
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{where} has no bbox of four numbers (left, top, width, height)")
    if not all(isinstance(v, int | float) and np.isfinite(v) for v in box):
        raise ValueError(f"{where} has the bbox {box}, which are not four numbers")
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(
            f"{where} has a box of {box[2]:g} x {box[3]:g} pixels, which holds nothing"
        )
    return box


def _given(source: Mapping[str, Any], names: Sequence[str]) -> dict[str, ImageBoxes]:
    unknown = [name for name in source if name not in names]
    if unknown:
        raise ValueError(f"boxes are given for {unknown[0]!r}, which is none of the images")
    found = {}
    for place, name in enumerate(names):
        if name not in source:
            continue
        rows = _array(source[name], name)
        if not len(rows):
            continue
        for row in rows:
            _box({"bbox": row[:4].tolist()}, f"the boxes of {name}")
        score = rows[:, 4] if rows.shape[1] == 5 else np.ones(len(rows))
        found[name] = ImageBoxes(place, rows[:, :4], score, np.ones(len(rows), np.int64))
    return found


def _array(values: Any, name: str) -> np.ndarray:
    """(N, 4) or (N, 5) float64."""
    try:
        rows = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the boxes of {name} are no rows of four or five numbers") from error
    if rows.size and (rows.ndim != 2 or rows.shape[1] not in (4, 5)):
        raise ValueError(
            f"the boxes of {name} have shape {rows.shape}, but must have (N, 4), or (N, 5) with "
            "scores"
        )
    return rows


def _number(name: str) -> int | None:
    """The number that a file is named by."""
    stem = Path(name).stem.rpartition("_")[2]
    return int(stem) if stem.isdecimal() and len(stem) < _DIGITS else None
