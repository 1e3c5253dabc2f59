"""What is wrong with pose data is said in one sentence, before training where it can be known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from surform.data.pose_keypoints import KeypointSet
from surform.data.pose_module import PoseData
from tests.data.pose_files import COCO, document, write

pytestmark = pytest.mark.fault


def start(path: Any, options: dict[str, Any]) -> None:
    data = PoseData(path, **options)
    data.description()
    data.setup("fit")


def refused(path: Any, message: str, kind: type = ValueError, **options: Any) -> None:
    with pytest.raises(kind) as error:
        start(path if isinstance(path, list | dict) else str(path), options)
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text


def changed(root: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    content = document()
    change(content)
    return write(root, content)


def entry(content: dict[str, Any]) -> dict[str, Any]:
    return content["annotations"][2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: entry(c).update(bbox=[200, 10, 30, 30]),
            "annotation 102 has the box [200.0, 10.0, 30.0, 30.0] outside its image of 128 x 96",
        ),
        (lambda c: entry(c).update(bbox=[1, 2, -3, 4]), "annotation 102 has the box [1, 2, -3, 4]"),
        (lambda c: entry(c).update(bbox=None), "has the box None, but must have left, top"),
        (
            lambda c: entry(c).update(bbox=[1, 2, 10**400, 4]),
            "the box [1, 2, 1000",
        ),
        (
            lambda c: entry(c)["keypoints"].__setitem__(3, 10**400),
            "annotation 102 has 0 numbers in keypoints, but 17 joints need 51",
        ),
        (
            lambda c: entry(c)["keypoints"].pop(),
            "annotation 102 has 50 numbers in keypoints, but 17 joints need 51",
        ),
        (
            lambda c: entry(c)["keypoints"].__setitem__(5, 3),
            "annotation 102 has left_eye with visibility 3, but must have 0",
        ),
        (
            lambda c: entry(c)["keypoints"].__setitem__(3, float("nan")),
            "annotation 102 has left_eye at a place that is no finite number",
        ),
        (
            lambda c: entry(c).update(category_id=9),
            "annotation 102 is of category 9, which the file does not have (it has 1)",
        ),
        (lambda c: entry(c).update(category_id=[1]), "annotation 102 is of category [1], which"),
        (lambda c: entry(c).update(image_id="12"), "is of image '12', which the file does not"),
        (lambda c: entry(c).update(image_id=[12]), "is of image [12], which the file does not"),
        (lambda c: entry(c).update(area="large"), "annotation 102 has the area 'large', but must"),
        (lambda c: entry(c).update(area=-5), "annotation 102 has the area -5, but must have"),
        (lambda c: entry(c).update(area=10**400), "annotation 102 has the area 1000"),
        (lambda c: entry(c).update(iscrowd="0"), "annotation 102 has iscrowd '0', but must have"),
        (lambda c: entry(c).update(id=2**70), "needs more than 64 bits"),
        (lambda c: c["images"][1].update(height="96"), "image 11 has a size of ['96', 128] pixels"),
        (lambda c: c["images"][1].update(height=0), "image 11 has a size of [0, 128] pixels"),
        (
            lambda c: c["categories"][0].update(skeleton=[[1]]),
            "has a skeleton that is no list of pairs of joints",
        ),
        (lambda c: c["categories"][0].update(skeleton=5), "has a skeleton that is no list"),
        (lambda c: c["categories"][0].update(keypoints="nose"), "does not name its keypoints"),
        (
            lambda c: c["images"][1].update(file_name="0.png"),
            "has the image 0.png under the numbers 10 and 11: give it one",
        ),
        (
            lambda c: entry(c).update(image_id=77),
            "annotation 102 is of image 77, which the file does not name",
        ),
        (
            lambda c: entry(c).update(id=101),
            "the id 101 belongs to more than one annotation",
        ),
        (
            lambda c: c["images"][3].update(id=11),
            "the id 11 belongs to more than one image",
        ),
        (lambda c: entry(c).update(id="x"), "annotation 2 (from 0) has no whole number as its id"),
        (lambda c: c["images"][1].pop("file_name"), "image 11 has no file_name"),
        (lambda c: c.pop("categories"), "is no COCO file of keypoints: it needs the lists"),
        (
            lambda c: c["categories"][0].pop("keypoints"),
            "names its keypoints: set keypoints to one of coco, aic",
        ),
        (
            lambda c: c["categories"].append({"id": 2, "name": "cat", "keypoints": ["a", "b"]}),
            "the categories 'person' and 'cat' of",
        ),
        (
            lambda c: c["images"][0].update(height=128, width=96),
            "0.png is 96 x 128 pixels",
        ),
    ],
)
def test_annotations(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    content = document()
    change(content)
    if "categories" in content and all("file_name" in image for image in content["images"]):
        path = write(tmp_path, content)
    else:
        path = write(tmp_path, document())
        path.write_text(json.dumps(content))
    refused(path, message)


def test_a_skeleton_of_other_joints(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda c: c["categories"][0].update(skeleton=[[1, 18]]))
    refused(path, "has 17 joints, numbered from 0, but skeleton names 17")


def test_other_joints_than_the_set(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    refused(path, "has 17 keypoints, the set aic 14", keypoints="aic")
    refused(path, "unknown keypoint set 'cocoo': did you mean 'coco'?", keypoints="cocoo")
    swapped = list(COCO.joints)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    other = write(tmp_path / "b", document(joints=tuple(swapped)))
    refused(
        other,
        "has the keypoints of the set coco in another order: number 1 is 'right_eye' there",
        keypoints="coco",
    )


def test_no_category_of_the_set(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"][0]["name"] = "dancer"
        content["categories"].append({"id": 2, "name": "dog"})

    refused(changed(tmp_path, change), "has no category 'person', but dancer, dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"images": [', "is no JSON that can be read"), (b"[]", "is no COCO file of keypoints")],
)
def test_no_annotations(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    refused(tmp_path / "a.json", message)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    refused(tmp_path / "no.json", f"no data at {tmp_path / 'no.json'}", FileNotFoundError)
    refused(tmp_path, "holds no annotations.json: name the annotation", FileNotFoundError)
    path = write(tmp_path, document())
    refused(path, "there is no folder of images x", FileNotFoundError, images="x")
    (tmp_path / "4.png").unlink()
    refused(path, f"there is no image {tmp_path / '4.png'} (image 14 of", FileNotFoundError)
    (tmp_path / "0.png").unlink()
    refused(path, "0.png, the first image of", FileNotFoundError)


def test_a_corrupt_jpeg(tmp_path: Path) -> None:
    content = document()
    content["images"][3]["file_name"] = "3.jpg"
    path = write(tmp_path, content)
    bytes_of = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(bytes_of[: len(bytes_of) // 2])
    refused(path, f"{tmp_path / '3.jpg'} is damaged (image file is truncated", split={"train": 6})


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((96, 128), 40000, np.uint16), "has pixels of the kind 'I;16', which are no 8-bit"),
        (np.full((96, 128, 4), 90, np.uint8), "is transparent in parts"),
    ],
    ids=["16 bits", "transparent"],
)
def test_images_that_cannot_be_read_exactly(
    tmp_path: Path, pixels: np.ndarray, message: str
) -> None:
    path = write(tmp_path, document())
    Image.fromarray(pixels).save(tmp_path / "2.png")
    refused(path, message, split={"train": 6})


def test_photos_whose_annotations_are_for_the_stored_side(tmp_path: Path) -> None:
    content = document()
    content["images"][2]["file_name"] = "2.jpg"
    path = write(tmp_path, content)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / "1.png").save(tmp_path / "2.jpg", exif=exif)
    message = "2.jpg is 128 x 96 pixels (its EXIF data turn it: annotate upright photos), but its"
    refused(path, message, split={"train": 6})


def test_nobody_with_a_labelled_joint(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for one in content["annotations"]:
            one.update(keypoints=[0] * 51, num_keypoints=0)

    message = "images, but no person with a box and a labelled joint"
    refused(changed(tmp_path, change), message)


def test_empty_and_double_splits(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    refused(path, "split validation=0.1 is empty", split={"train": 0.5, "validation": 0.1})
    files = {"train": str(path), "validation": str(path)}
    refused(files, "is divided into files already", split={"train": 0.5})
    refused({"validation": str(path)}, "with validation needs a train file, too")
    refused({"train": str(path), "path": str(path)}, "has either a path or files of its own")
    refused([], "data.path is an empty list")
    refused([{"path": str(path), "heads": 2}], "unknown key 'heads' of a data set of poses")
    two = [{"path": str(path)}, {"path": str(path), "encoding": "udp_combined"}]
    refused(two, "the encoding udp_combined is for a single data set: choose udp")
    refused([{"path": str(path), "encoding": "gauss"}], "encoding='gauss': choose msra")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "is no list of detections"),
        ([{"image_id": 1, "bbox": [0, 0, 5, 5]}], "detection 0 (from 0) lacks an image_id, a bbox"),
        (
            [{"image_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}],
            "of 1 detections, 1 are detections of other images",
        ),
        ([{"image_id": 10, "bbox": [0, 0, float("inf"), 5], "score": 0.5}], "must be finite"),
    ],
)
def test_detections(tmp_path: Path, found: Any, message: str) -> None:
    path = write(tmp_path, document())
    (tmp_path / "found.json").write_text(json.dumps(found))
    refused(
        {"train": str(path), "validation": str(path)}, message,
        detections=str(tmp_path / "found.json"),
    )  # fmt: skip


def test_detections_for_training(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    message = "detections are given for train, but are for validation and test"
    refused(path, message, detections={"train": "found.json"})


def test_sets_that_cannot_be() -> None:
    good = {item: getattr(COCO, item) for item in vars(COCO)}
    for change, message in (
        ({"pairs": ((1, 2), (2, 3))}, "names a joint twice in pairs"),
        ({"sigmas": (0.1,)}, "has 17 joints, but 1 sigmas"),
        ({"sigmas": (0.0,) * 17}, "has sigmas that are not positive numbers"),
        ({"joints": ("nose",) * 17}, "must name its joints, each by a name of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            KeypointSet(**(good | change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 2.0}, "flip is 2.0, but must be from 0 to 1"),
        ({"scale": 1.0}, "scale is 1.0, but must be at least 0 and less than 1"),
        ({"image_size": [64]}, "image_size is [64], but must be height and width"),
        ({"jitter": "often"}, "jitter='often': choose frozen, fresh, none"),
        ({"padding": 0}, "padding must be positive"),
        ({"normalize": {"mean": [0.5]}}, "normalize gives 1 numbers for mean"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    refused(tmp_path, message, **options)


def test_whole_bodies_without_a_hand(tmp_path: Path) -> None:
    content = document()
    for one in content["annotations"]:
        one.update(foot_kpts=[0] * 18, face_kpts=[0] * 204, lefthand_kpts=[0] * 63)
    path = write(tmp_path, content)
    message = "annotation 100 has 0 numbers in righthand_kpts, but 21 joints need 63"
    refused(path, message, keypoints="coco_wholebody")
