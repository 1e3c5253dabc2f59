"""MPII's lists of persons as mmpose writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from surform.cli import main
from surform.data.pose_module import PoseData
from surform.data.pose_published import PUBLISHED
from tests.data.pose_files import SIZE, painted, places

MPII = PUBLISHED["mpii"]
CENTER, SCALE = np.array([60.0, 40.0]), 0.3


def person(image: str, **changes: Any) -> dict[str, Any]:
    """Joints and place as in the file: counted from pixel 1, the place 15 scales higher."""
    return {
        "image": image,
        "joints": (places(16) + 1).tolist(),
        "joints_vis": [1] * 15 + [0],
        "center": (CENTER + 1 - (0, 15 * SCALE)).tolist(),
        "scale": SCALE,
    } | changes


def write(root: Path, persons: list[Any]) -> Path:
    for number in range(3):
        Image.fromarray(painted(16)).save(root / f"{number}.png")
    (root / "mpii.json").write_text(json.dumps(persons))
    return root / "mpii.json"


def opened(path: Path, **options: Any) -> PoseData:
    return PoseData(str(path), split={"train": 2, "validation": 1}, **options)


def test_persons_lie_where_the_file_says(tmp_path: Path) -> None:
    names = ["0.png", "0.png", "1.png", "2.png"]
    path = write(tmp_path, [person(name) for name in names])
    data = opened(path, image_size=[64, 64])
    assert data.description().sets == (MPII,)
    assert len(data.samples("train")) + len(data.samples("validation")) == 4
    samples = data.samples("train")
    batch = samples[[0]]
    half = 100 * SCALE
    assert batch.boxes[0].tolist() == pytest.approx([*(CENTER - half), 2 * half, 2 * half])
    assert batch.center[0].tolist() == CENTER.tolist()
    assert batch.scale[0].tolist() == pytest.approx([1.25 * SCALE] * 2)
    assert batch.keypoints[0, :15].tolist() == places(16)[:15].tolist()
    assert batch.flags[0].tolist() == [2] * 15 + [0]
    truth = data.ground_truth("train")
    assert np.isnan(truth.area).all()


def test_what_is_left_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = person("1.png", center=[-1, -1], scale=-1)
    nobody = person("2.png", joints_vis=[0] * 16)
    path = write(tmp_path, [*(person(f"{n}.png") for n in range(3)), lost, nobody])
    assert opened(path).remarks() == [
        f"{path}: 1 persons without a place left out.",
        f"{path}: 1 persons without a labelled joint left out.",
    ]
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "3 persons in 3 images" in shown
    assert "joints (mpii): right_ankle 100%" in shown


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": 5}, r"person 1 \(from 0\) names no image: MPII's lists have image, joints"),
        (
            {"joints": [[1, 2]] * 14},
            r"person 1 \(from 0\) must have 16 x 2 finite numbers as its j",
        ),
        ({"joints_vis": [1] * 15 + [2]}, "has left_wrist with visibility 2, but must have 0 or 1"),
        ({"center": None}, "must have 2 finite numbers as its center"),
        ({"scale": "large"}, "must have a finite number as its scale"),
        ({"center": [900, 900]}, "lies outside its image of 128 x 96 pixels"),
    ],
)
def test_entries_that_cannot_be_read(changes: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, [person("0.png"), person("1.png") | changes, person("2.png")])
    with pytest.raises(ValueError, match=message):
        opened(path).description()


@pytest.mark.fault
def test_lists_of_other_joints_or_images(tmp_path: Path) -> None:
    path = write(tmp_path, [person(f"{n}.png") for n in range(3)])
    with pytest.raises(ValueError, match="whose joints are those of the set mpii: set keypoints"):
        opened(path, keypoints="coco").description()
    path = write(tmp_path, [5, 6])
    with pytest.raises(ValueError, match=r"person 0 \(from 0\) names no image"):
        opened(path).description()
    path = write(tmp_path, [person("0.png"), person("9.png")])
    with pytest.raises(FileNotFoundError, match="there is no image"):
        opened(path).description()


def test_sizes_come_from_the_images(tmp_path: Path) -> None:
    data = opened(write(tmp_path, [person(f"{n}.png") for n in range(3)]))
    assert data.parts("train")[0].images.sizes.tolist() == [list(SIZE)] * 3
