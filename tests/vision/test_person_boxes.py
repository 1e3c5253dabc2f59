"""Boxes of persons: how entries name their images, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.vision.person_boxes import read_boxes

BOX = [5, 6, 20, 30]
NAMES = ["a/000000000042.png", "a/photo_².png", "b/x.png"]


def read(folder: Path, content: Any) -> Any:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "boxes.json").write_text(text, encoding="utf-8")
    return read_boxes(str(folder / "boxes.json"), NAMES)


@pytest.mark.parametrize(
    ("key", "name", "number"),
    [
        ({"image_id": 42}, NAMES[0], 42),
        ({"image_id": 42.0}, NAMES[0], 42),
        ({"image_id": "42"}, NAMES[0], 42),
        ({"image_id": "000000000042"}, NAMES[0], 42),
        ({"image_id": 7, "file_name": "a/000000000042.png"}, NAMES[0], 7),
        ({"image_id": 42, "file_name": None}, NAMES[0], 42),
        ({"file_name": "b\\x.png"}, NAMES[2], 2),
        ({"file_name": "C:\\data\\x.png"}, NAMES[2], 2),
        ({"file_name": "/elsewhere/x.png"}, NAMES[2], 2),
        ({"file_name": "photo_².png"}, NAMES[1], 1),
    ],
)
def test_entries_name_their_image(
    key: dict[str, Any], name: str, number: int, tmp_path: Path
) -> None:
    found = read(tmp_path, [{**key, "bbox": BOX, "category_id": None}])
    assert list(found) == [name]
    assert found[name].image_id == number
    assert found[name].boxes.tolist() == [BOX]
    assert found[name].category.tolist() == [1]


def test_files_of_editors_that_mark_their_encoding(tmp_path: Path) -> None:
    assert list(read(tmp_path, '\ufeff[{"image_id": 42, "bbox": [1, 2, 3, 4]}]')) == [NAMES[0]]


def test_images_without_persons_are_left_out() -> None:
    found = read_boxes({NAMES[0]: [], NAMES[2]: [BOX]}, NAMES)
    assert list(found) == [NAMES[2]]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([5], r"entry 0 has no bbox of four numbers"),
        ({"images": [], "annotations": [5]}, "entry 0 has no bbox of four numbers"),
        ([{"image_id": [42], "bbox": BOX}], "has boxes, but none of the 3 images"),
        (
            {"images": [{"id": [1], "file_name": "x"}], "annotations": [{"bbox": BOX}]},
            "has boxes, but none of the 3 images",
        ),
        ([{"image_id": 42, "bbox": BOX, "category_id": "person"}], "has the category_id 'person'"),
        ([{"image_id": 42, "bbox": BOX, "score": None}], "has the score None, which is no number"),
    ],
)
def test_entries_that_cannot_be_read(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


@pytest.mark.fault
def test_no_boxes_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boxes are True, but must be a JSON file"):
        read_boxes(True, NAMES)
    with pytest.raises(ValueError, match="is a folder, but a JSON file is wanted"):
        read_boxes(tmp_path, NAMES)
    for rows in ([[1, 2], [3]], [["left", 2, 3, 4]]):
        with pytest.raises(ValueError, match=r"the boxes of b/x.png are no rows of four or five"):
            read_boxes({NAMES[2]: rows}, NAMES)
    with pytest.raises(ValueError, match=r"have shape \(4,\), but must have"):
        read_boxes({NAMES[2]: np.ones(4)}, NAMES)
