"""Rendered figures: exact joints, a function of the seed, made once and in any number of parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from surform.data.pose_coco import read_poses
from surform.data.pose_module import PoseData
from surform.data.pose_published import keypoint_set
from surform.data.solvers.figures import figures
from surform.data.solvers.figures_body import random_body
from surform.data.solvers.generate import generate

SMALL = {"width": 96, "height": 80}
COCO = keypoint_set("coco")


def joints(annotation: dict) -> np.ndarray:
    return np.array(annotation["keypoints"]).reshape(17, 3)


def test_a_picture_follows_from_the_seed() -> None:
    one, two = (figures(np.random.default_rng([0, 7]), **SMALL) for _ in range(2))
    assert np.array_equal(one.pixels, two.pixels)
    assert one.annotations == two.annotations
    other = figures(np.random.default_rng([0, 8]), **SMALL)
    assert not np.array_equal(one.pixels, other.pixels)


def test_bodies_keep_their_lengths_and_limits() -> None:
    names = COCO.joints
    lengths = {("shoulder", "elbow"): 0.172, ("elbow", "wrist"): 0.148, ("hip", "knee"): 0.245}
    for seed in range(60):
        body = random_body(np.random.default_rng(seed))
        place = dict(zip(names, body.joints, strict=True))
        for side in ("left", "right"):
            for (start, end), length in lengths.items():
                bone = place[f"{side}_{end}"] - place[f"{side}_{start}"]
                assert np.linalg.norm(bone) == pytest.approx(length)
            # elbows bend forward and knees backward only: never beyond a straight limb
            thigh = place[f"{side}_knee"] - place[f"{side}_hip"]
            shin = place[f"{side}_ankle"] - place[f"{side}_knee"]
            cosine = thigh @ shin / np.linalg.norm(thigh) / np.linalg.norm(shin)
            assert cosine >= np.cos(np.radians(135)) - 1e-9


def test_visible_joints_lie_on_their_figure_and_hidden_ones_do_not() -> None:
    """Alone and unhidden a figure covers all its joints; their box holds them."""
    seen = hidden = outside = 0
    for seed in range(25):
        made = figures(np.random.default_rng([1, seed]), **SMALL, most=3)
        for found in made.annotations:
            x, y, flags = joints(found).T
            left, top, width, height = found["bbox"]
            shown = flags == 2
            assert (x[shown] >= left - 1).all()
            assert (x[shown] <= left + width).all()
            assert (y[shown] >= top - 1).all()
            assert (y[shown] <= top + height).all()
            assert found["area"] <= width * height
            assert found["num_keypoints"] == (flags > 0).sum()
            assert not x[flags == 0].any()
            seen, hidden = seen + shown.sum(), hidden + (flags == 1).sum()
            outside += (flags == 0).sum()
    assert seen > hidden > 30
    assert outside > 10


def test_faces_that_are_turned_away_have_no_visible_nose() -> None:
    away = towards = 0
    for seed in range(60):
        made = figures(np.random.default_rng([2, seed]), width=160, height=128, most=1, hidden=0.0)
        for found in made.annotations:
            place = joints(found)
            shoulders = place[[5, 6]]
            if (shoulders[:, 2] > 0).all() and abs(shoulders[0, 0] - shoulders[1, 0]) > 8:
                nose = place[0, 2]
                if shoulders[0, 0] > shoulders[1, 0]:  # left on the right: it faces the camera
                    towards += nose == 2
                else:
                    away += nose == 1
    assert towards > 5
    assert away > 5


def test_figures_face_the_camera_as_far_as_asked() -> None:
    """Those that hardly turn have their left shoulder on the right, but where they lie down."""
    facing = []
    for seed in range(40):
        made = figures(np.random.default_rng([3, seed]), **SMALL, most=1, hidden=0.0, turn=20)
        for found in made.annotations:
            left, right = joints(found)[[5, 6]]
            if left[2] and right[2]:
                facing.append(left[0] > right[0])
    assert len(facing) > 20
    assert np.mean(facing) > 0.9


def test_folders_are_made_once(tmp_path: Path) -> None:
    out = tmp_path / "figures"
    assert generate("figures", out, 3, seed=4, **SMALL) == out
    before = (out / "annotations.json").stat().st_mtime_ns
    generate("figures", out, 3, seed=4, **SMALL)
    assert (out / "annotations.json").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="exists with seed 4, but seed 5 is asked for"):
        generate("figures", out, 3, seed=5, **SMALL)
    file = read_poses(out / "annotations.json")
    assert file.own is COCO
    assert len(file.images) == 3
    assert file.images.read(0).shape == (80, 96, 3)
    info = json.loads((out / "annotations.json").read_text())["info"]
    assert (info["solver"], info["seed"]) == ("figures", 4)


@pytest.mark.fault
def test_a_stopped_run_is_continued(tmp_path: Path) -> None:
    whole = generate("figures", tmp_path / "whole", 4, format="png", **SMALL)

    def stop(share: float) -> None:
        if share >= 0.5:
            raise KeyboardInterrupt

    out = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        generate("figures", out, 4, format="png", progress=stop, **SMALL)
    assert not out.exists()
    with (tmp_path / "part.partial" / "lines.jsonl").open("a") as file:
        file.write('{"image": {"id"')  # a line that a kill cut off
    generate("figures", out, 4, format="png", **SMALL)
    assert not (tmp_path / "part.partial").exists()
    for name in sorted(p.name for p in (whole / "images").iterdir()):
        assert (whole / "images" / name).read_bytes() == (out / "images" / name).read_bytes()
    one, two = (json.loads((p / "annotations.json").read_text()) for p in (whole, out))
    assert one["annotations"] == two["annotations"]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("figures.zarr", {}, "has a suffix, but pictures are written into a folder"),
        ("figures", {"shard": (0, 2), "batch": 1}, "pictures are made in one piece"),
        ("figures", {"device": "meta"}, "figures computes on the CPU only"),
        ("figures", {"width": 20}, "width and height must be at least 64"),
        ("figures", {"most": 0}, "most must be at least 1"),
        ("figures", {"hidden": 2.0}, "hidden is 2.0, but must be from 0 to 1"),
        ("figures", {"turn": 190}, "turn is 190.0, but must be from 0 to 180 degrees"),
        ("figures", {"format": "gif"}, "format is 'gif', but it must be 'png' or 'jpg'"),
    ],
)
def test_requests_that_cannot_be(tmp_path: Path, out: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate("figures", tmp_path / out, 2, **options)
    assert not (tmp_path / out).exists()


def test_data_without_a_path_are_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = PoseData(generate={"samples": 10, **SMALL}, image_size=[64, 48], batch_size=4)
    about = data.description()
    assert about.sets == (COCO,)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (4, 3, 64, 48)
    assert data.held_bytes() > 0
    shutil.rmtree(tmp_path / "figures" / "images")  # held in memory
    assert next(iter(data.val_dataloader())).images.shape[1:] == (3, 64, 48)
