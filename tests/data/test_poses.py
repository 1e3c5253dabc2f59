"""Persons from COCO files: what is read, how they are cropped and varied, who trains on them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from surform.data.pose_coco import read_poses
from surform.data.pose_crops import center_scale, crop_matrix, cut, half_body
from surform.data.pose_description import PoseDescription
from surform.data.pose_keypoints import KeypointSet, set_of_category
from surform.data.pose_module import PoseData
from surform.data.pose_published import PUBLISHED
from surform.data.pose_variation import PoseVariation, View
from surform.vision.heatmap_decoding import to_image
from tests.data.pose_files import COCO, SIZE, annotation, color, document, places, write

NONE = {"flip": 0.0, "half_body": 0.0, "scale": 0.0, "rotate": 0.0, "jitter": "none"}
CROP = {"image_size": [64, 48], "split": {"train": 4, "validation": 2}, "batch_size": 4}


def data(root: Path, content: dict[str, Any] | None = None, **options: Any) -> PoseData:
    return PoseData(str(write(root, content or document())), **(CROP | options))


@pytest.mark.parametrize("own", PUBLISHED.values(), ids=str)
def test_published_sets_name_left_and_right_by_their_names(own: KeypointSet) -> None:
    mirror = own.mirror
    assert [mirror[other] for other in mirror] == list(range(len(own)))
    for joint, other in zip(own.joints, (own.joints[n] for n in mirror), strict=True):
        if not joint.startswith("face"):
            swapped = joint.replace("left", "?").replace("right", "left").replace("?", "right")
            assert other == swapped
    counts = {"coco": 17, "aic": 14, "mpii": 16, "ap10k": 17, "apt36k": 17, "coco_wholebody": 133}
    assert len(own) == counts[own.name] == len(own.sigmas) == len(own.weights)


def test_faces_are_mirrored_around_their_middle_line() -> None:
    own = PUBLISHED["coco_wholebody"]
    middle = [n - 23 for n in range(23, 91) if own.mirror[n] == n]
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]  # chin, nose, lips


def test_own_sets_come_from_names() -> None:
    names = ["l_paw", "r_paw", "nose", "tail", "hip-left", "hip-right"]
    category = {"name": "cat", "keypoints": names, "skeleton": [[1, 3], [2, 3]]}
    own = set_of_category(category, "cats.json")
    assert own.pairs == ((0, 1), (4, 5))
    assert own.skeleton == ((0, 2), (1, 2))
    assert own.upper == (2,)


def test_a_file_takes_the_published_set_of_its_joints(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    assert read_poses(path).own is COCO
    other = write(tmp_path / "b", document(joints=("head", "left_foot", "right_foot")))
    assert read_poses(other).own.joints == ("head", "left_foot", "right_foot")
    assert read_poses(path, keypoints="file").own.sigmas != COCO.sigmas


@pytest.mark.parametrize("encoding", ["udp", "msra"])
def test_joints_lie_where_the_crop_shows_them(tmp_path: Path, encoding: str) -> None:
    """Each joint has a colour; a mirrored one that of its other side."""
    own = data(tmp_path, encoding=encoding, image_size=[128, 96], half_body=0.5)
    samples = own.samples("train", varied=True)
    seen, mirrored = 0, 0
    for number in range(40):  # ten epochs
        batch = samples[[number]]
        view = samples.view(number % 4, number // 4)
        order = COCO.mirror if view.mirrored else range(17)
        mirrored += view.mirrored
        pixels = batch.images[0].numpy()
        for joint, (x, y) in enumerate(batch.joints[0].round().int().tolist()):
            if 0 <= x < 96 and 0 <= y < 128:
                difference = pixels[:, y, x].astype(int) - color(order[joint])
                assert np.abs(difference).max() <= 40, (number, joint)
                seen += 1
    assert seen > 200
    assert 8 < mirrored < 32


def test_evaluation_leads_back_to_the_image(tmp_path: Path) -> None:
    for encoding in ("udp", "msra"):
        own = data(tmp_path / encoding, encoding=encoding)
        batch = own.samples("validation")[[0, 1]]
        aligned = encoding == "udp"
        size = np.array([48, 64]) - aligned
        heatmap = batch.joints * torch.tensor((np.array([12, 16]) - aligned) / size)
        back = to_image(heatmap, batch.center, batch.scale, (16, 12), aligned=aligned)
        torch.testing.assert_close(back, batch.keypoints, atol=1e-3, rtol=0, check_dtype=False)


def test_boxes_are_widened_to_the_crop(tmp_path: Path) -> None:
    center, scale = center_scale(np.array([[10.0, 20, 30, 80], [0, 0, 90, 60]]), (64, 48))
    np.testing.assert_allclose(center, [[25, 60], [45, 30]])
    np.testing.assert_allclose(scale * 200 / 1.25, [[60, 80], [90, 120]])
    center, scale = half_body(np.array([[0.0, 0], [30, 10]]), (64, 48))
    np.testing.assert_allclose(center, [15, 5])
    np.testing.assert_allclose(scale * 200 / 1.5, [30, 40])


def test_crops_beyond_the_image_are_black() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    matrix = crop_matrix(np.array([500.0, 9]), np.array([0.1, 0.1]), 30, (16, 12), aligned=True)
    assert not cut(image, matrix, (16, 12)).any()
    shift = np.array([[1.0, 0, 0.5], [0, 1.0, 0]])  # half a pixel to the right
    crop = cut(image[:1, :1], shift, (3, 4))
    assert crop[:, 0].tolist() == [[100, 100, 0, 0]] * 3


def test_variation_follows_from_seed_epoch_and_person(tmp_path: Path) -> None:
    own = data(tmp_path, workers=2)
    samples = own.samples("train", varied=True)
    one, two = samples[[1, 5]].images  # person 1 in epochs 0 and 1
    assert not torch.equal(one, two)
    assert torch.equal(samples[[5]].images[0], two)
    loader = own.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[union-attr]
    (batch,) = list(loader)
    place = batch.index.tolist().index(1)
    assert torch.equal(batch.images[place], two)


@pytest.mark.parametrize("jitter", ["none", "frozen", "fresh"])
def test_centers_are_moved_once_or_in_each_epoch(tmp_path: Path, jitter: str) -> None:
    own = data(tmp_path, **NONE | {"jitter": jitter, "seed": 1})
    samples = own.samples("train", varied=True)
    centers = [[tuple(samples.view(n, e).center) for e in range(60)] for n in range(4)]
    moved = np.mean([c != (58.5, 33.5) for row in centers for c in row])
    if jitter == "fresh":
        assert 0.2 < moved < 0.4
        assert max(abs(c[0] - 58.5) for row in centers for c in row) <= 0.2 * 89
    else:
        assert all(len(set(row)) == 1 for row in centers)
        assert (moved > 0) == (jitter == "frozen")


def test_the_chances_are_the_published_ones() -> None:
    variation, generator = PoseVariation(), np.random.default_rng(0)
    view = View(places(), np.ones(17), np.array([60.0, 40.0]), np.array([0.5, 0.6]))
    found = [variation(view, COCO, 128, (64, 48), generator) for _ in range(4000)]
    assert abs(np.mean([v.mirrored for v in found]) - 0.5) < 0.03
    assert abs(np.mean([v.rotation != 0 for v in found]) - 0.6) < 0.03
    angles = np.array([v.rotation for v in found if v.rotation])
    assert np.abs(angles).max() == 80
    assert 30 < angles.std() < 42
    whole = [v for v in found if v.center[1] == 40]
    assert abs(1 - len(whole) / 4000 - 0.3) < 0.03
    factors = np.array([v.scale[0] / 0.5 for v in whole])
    assert factors.min() == 0.5
    assert factors.max() == 1.5
    upper = [v.center[1] < places()[:, 1].mean() for v in found if v.center[1] != 40]
    assert abs(np.mean(upper) - 0.69) < 0.05


def test_all_persons_of_an_image_are_in_one_split(tmp_path: Path) -> None:
    content = document(10)
    content["annotations"] += [annotation(200 + n, 10 + n) for n in range(10)]
    path = str(write(tmp_path, content))
    made = [PoseData(path, split_seed=seed, **CROP | {"split": None}) for seed in (0, 0, 1)]
    split = [
        {name: set(d.samples(name)[list(range(len(d.samples(name))))].image_id.tolist())
         for name in ("train", "validation", "test")}
        for d in made
    ]  # fmt: skip
    assert split[0] == split[1] != split[2]
    assert sorted(len(v) for v in split[0].values()) == [1, 1, 8]
    assert set.union(*split[0].values()) == set(range(10, 20))
    assert [len(made[0].samples(name)) for name in split[0]] == [16, 2, 2]


def test_divided_files_and_folders_of_images(tmp_path: Path) -> None:
    train = write(tmp_path / "train2017", document(4), "train.json")
    held = write(tmp_path / "val2017", document(3), "val.json")
    folders = {"train": str(train.parent), "validation": str(held.parent)}
    own = PoseData({"train": str(train), "validation": str(held)}, images=folders, batch_size=2)
    assert [len(own.samples(name)) for name in ("train", "validation")] == [4, 3]
    assert own.description().source["persons"] == "4 train, 3 validation"


def test_mixed_data_sets_have_a_head_each(tmp_path: Path) -> None:
    animals = PUBLISHED["ap10k"].joints[:5]
    one, two = write(tmp_path / "a", document()), write(tmp_path / "b", document(5, animals))
    own = PoseData(
        [{"path": str(one)}, {"path": str(two), "encoding": "msra"}], batch_size=9, drop_last=False
    )
    about = own.description()
    assert about.encodings == ("udp", "msra")
    assert about.sizes() == {
        "image_size": [256, 192], "in_channels": 3, "joints": [17, 5], "experts": 2,
    }  # fmt: skip
    batch = next(iter(own.train_dataloader()))
    assert sorted(batch.dataset.tolist()) == [0] * 4 + [1] * 3
    other = batch.dataset == 1
    assert batch.joints.shape[1] == 17
    assert (batch.visible[other].sum(1) == 5).all()
    assert not batch.visible[other][:, 5:].any()
    stored = json.loads(json.dumps(about.to_dict()))
    assert PoseDescription.from_dict(stored) == about


def test_detected_boxes_are_for_evaluation(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    found = [
        {"image_id": 10 + n, "category_id": 1, "bbox": [n, 2, 30, 40], "score": 0.2 * n}
        for n in range(6)
    ]
    found += [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1.0}]
    found += [{"image_id": 12, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 1.0}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    own = PoseData(
        {"train": str(path), "validation": str(path)},
        detections=str(tmp_path / "found.json"), detection_threshold=0.3, batch_size=4,
    )  # fmt: skip
    batch = own.samples("validation")[[0, 1, 2, 3]]
    torch.testing.assert_close(batch.score, torch.tensor([0.4, 0.6, 0.8, 1.0]))
    assert batch.annotation_id.tolist() == [-1] * 4
    assert not batch.visible.any()
    assert len(own.samples("train")) == 6
    assert len(own.ground_truth("validation").area) == 6
    where = tmp_path / "found.json"
    assert own.remarks() == [
        f"{where}: 1 detections of other images left out.",
        f"{where}: 1 detections of other categories left out.",
        f"{where}: 2 detections with a score below 0.3 left out.",
    ]


def test_animals_keep_their_category(tmp_path: Path) -> None:
    content = document()
    own = content["categories"][0]["keypoints"]
    content["categories"] = [{"id": n, "name": f"kind {n}", "keypoints": own} for n in (4, 9)]
    for n, entry in enumerate(content["annotations"]):
        entry["category_id"] = (4, 9)[n % 2]
    path = write(tmp_path, content)
    found = [{"image_id": 11, "category_id": 4, "bbox": [0, 2, 30, 40], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    given = {"train": str(path), "validation": str(path)}
    own = PoseData(given, keypoints="file", detections=str(tmp_path / "found.json"))
    assert own.samples("train")[[0, 1, 2]].category.tolist() == [4, 9, 4]
    assert own.samples("validation")[[0]].category.tolist() == [4]
    assert own.ground_truth("validation").category.tolist() == [4, 9] * 3
    del found[0]["category_id"]
    (tmp_path / "found.json").write_text(json.dumps(found))
    own = PoseData(given, keypoints="file", detections=str(tmp_path / "found.json"))
    with pytest.raises(
        ValueError, match=r"has the category_id None, but must have one of the 2 of"
    ):
        own.description()


def test_files_that_were_made_elsewhere(tmp_path: Path) -> None:
    content = document()
    for image in content["images"]:
        image["file_name"] = f"pictures/{image['file_name']}"
        image["height"] = None
    (tmp_path / "pictures").mkdir()
    path = write(tmp_path, content)
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")
    del content["annotations"][0]["keypoints"]
    content["annotations"][1]["num_keypoints"] = None
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    own = PoseData(str(path), **CROP)
    assert own.remarks() == [f"{path}: 1 annotations without a labelled joint left out."]
    assert own.samples("train").labels(torch.tensor([0]))["name"] == ["pictures/1.png"]
    assert own.parts("train")[0].images.sizes.tolist() == [[96, 128]] * 6


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    content = document()
    content["annotations"] += [
        annotation(200, 10, iscrowd=1),
        annotation(201, 10, num_keypoints=0, keypoints=[0] * 51),
        annotation(202, 11, bbox=[10, 10, 0, 30]),
        annotation(203, 11, category_id=2),
    ]
    content["categories"].append({"id": 2, "name": "car"})
    own = data(tmp_path, content)
    told = [remark.split(": ")[1] for remark in own.remarks()]
    assert told == [
        "1 annotations of other categories left out.",
        "1 crowds left out.",
        "1 annotations without a labelled joint left out.",
        "1 boxes without area left out.",
    ]
    assert "1 crowds left out" in own.description().source["left out"]
    truth = [len(own.ground_truth(name).area) for name in ("train", "validation")]
    assert sum(truth) == 9


def test_whole_bodies_have_their_parts_in_fields_of_their_own(tmp_path: Path) -> None:
    content = document()
    for entry in content["annotations"]:
        for key, count in (
            ("foot_kpts", 6), ("face_kpts", 68), ("lefthand_kpts", 21), ("righthand_kpts", 21),
        ):  # fmt: skip
            entry[key] = [50, 40, 0.7] * count
    own = data(tmp_path, content, keypoints="coco_wholebody")
    batch = own.samples("train")[[0]]
    assert batch.flags.shape == (1, 133)
    assert (batch.flags[0, :17] == 2).all()
    assert (batch.flags[0, 17:] == 1).all()
    assert (batch.keypoints[0, 17:] == torch.tensor([50.0, 40.0])).all()


def test_whole_bodies_that_are_read_as_bodies_are_counted(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["foot_kpts"] = [0] * 18
    own = data(tmp_path, content)
    assert own.description().sets == (COCO,)
    what = "annotations' feet, faces and hands (keypoints coco_wholebody takes them)"
    assert own.remarks() == [f"{tmp_path / 'annotations.json'}: 1 {what} left out."]


def test_boxes_are_clipped_to_the_last_pixels(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["bbox"] = [-10, 50, 300, 300]
    persons = read_poses(write(tmp_path, content)).persons
    assert persons.boxes[0].tolist() == [0, 50, SIZE[1] - 1, SIZE[0] - 1 - 50]
    assert persons.boxes[1].tolist() == [14, 6, 89, 55]


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.convert("L"),
        lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE),
        lambda image: image.convert("RGBA"),
    ],
    ids=["grey", "palette", "opaque RGBA"],
)
def test_other_kinds_of_8_bit_images(tmp_path: Path, convert: Callable[[Any], Any]) -> None:
    path = write(tmp_path, document())
    original = Image.open(tmp_path / "3.png").convert("RGB")
    convert(original).save(tmp_path / "3.png")
    found = read_poses(path).images.read(3)
    expected = np.asarray(convert(original).convert("RGB"))
    assert np.array_equal(found, expected)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    content = document()
    content["images"][2]["file_name"] = "2.jpg"
    path = write(tmp_path, content)
    upright = np.asarray(Image.open(tmp_path / "1.png"))
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    turned.save(tmp_path / "2.jpg", exif=exif, quality=100, subsampling=0)
    found = read_poses(path).images.read(2)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 2


def test_fingerprints_tell_data_apart(tmp_path: Path) -> None:
    made = [data(tmp_path / "a"), data(tmp_path / "b")]
    content = document()
    content["annotations"][4]["keypoints"][0] += 1
    made.append(data(tmp_path / "c", content))
    prints = [own.description().source["fingerprint"] for own in made]
    assert prints[0] == prints[1] != prints[2]


def test_a_description_tells_what_does_not_fit(tmp_path: Path) -> None:
    own = data(tmp_path)
    trained = own.description()
    own.check(trained)
    other = dataclasses.replace(trained, sets=(PUBLISHED["aic"],))
    with pytest.raises(ValueError, match="the model was trained on the joints right_shoulder"):
        own.check(other)
    with pytest.raises(ValueError, match=r"was trained with image_size 256, 192, .* has 64, 48"):
        own.check(dataclasses.replace(trained, image_size=(256, 192)))
