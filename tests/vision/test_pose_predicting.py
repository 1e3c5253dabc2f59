"""Poses of images with boxes of all kinds: rows, pictures, videos; what cannot be looked at."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import surform
from surform.cli import main
from surform.data.pose_published import keypoint_set
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.pose_predicting import open_pictures
from surform.vision.vitpose import ViTPose
from surform.vision.vitpose_plus import ViTPosePlus
from tests.vision.pose_toy import SIZE, DotData

SMALL: dict[str, Any] = {
    "image_size": SIZE, "dim": 16, "depth": 1, "heads": 2, "deconv_channels": (8, 8),
}  # fmt: skip


class Bright(torch.nn.Module):
    """Heatmaps that are the colors of the crop: joint k lies where color k is brightest."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments = {"image_size": SIZE, "in_channels": 3, "joints": 3}
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images


def bright(source: DotData) -> PoseEstimator:
    model = PoseEstimator(Bright())
    model.fit_to(source.description(), *source.normalizers())
    model.fit_colors([0.0] * 3, [1.0] * 3)
    return model.eval()


def scene(source: DotData, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One image with crops side by side: pixels, boxes whose crops these are, and joints."""
    height, width = SIZE
    image = np.zeros((height + 40, 60 + 60 * len(rows), 3), np.uint8)
    boxes, joints = [], []
    for place, row in enumerate(rows):
        left = 30 + 60 * place
        image[20 : 20 + height, left : left + width] = source.images[row].permute(1, 2, 0)
        size = np.array([width, height]) / 1.25
        boxes.append([left + width / 2 - size[0] / 2, 20 + height / 2 - size[1] / 2, *size])
        joints.append(source.joints[row].numpy() + (left, 20))
    return image, np.array(boxes), np.array(joints)


@pytest.fixture
def source() -> DotData:
    return DotData(6, shown=1.0)


def test_joints_are_found_where_they_are(source: DotData) -> None:
    model = bright(source)
    image, boxes, joints = scene(source, [0, 1, 2])
    rows = model.predict(image[None], boxes={"0": np.c_[boxes, [0.5, 0.9, 0.7]]}, batch_size=2)
    assert len(rows) == 3
    for row in rows:
        box = np.argmin(np.abs(boxes - row["box"]).sum(1))
        found = np.array(row["keypoints"]).reshape(3, 3)
        assert np.linalg.norm(found[:, :2] - joints[box], axis=1).max() < 0.6
        assert row["score"] == pytest.approx([0.5, 0.9, 0.7][box] * found[:, 2].mean(), rel=1e-3)
        assert (row["image"], row["image_id"], row["category_id"]) == ("0", 0, 1)
    assert [row["score"] for row in rows] == sorted((r["score"] for r in rows), reverse=True)
    unflipped = model.predict(image[None], boxes={"0": boxes[:1]}, flip_test=False)
    both = model.predict(image[None], boxes={"0": np.r_[boxes[:1], boxes[:1] + 0.01]})
    assert len(unflipped) == len(both) == 1  # of the same person found twice one stays


def test_images_without_boxes_show_one_person_each(source: DotData, tmp_path: Path) -> None:
    model = bright(source)
    pixels = source.images.permute(0, 2, 3, 1).numpy()
    rows = model.predict(pixels)
    assert [row["image_id"] for row in rows] == list(range(len(pixels)))
    assert rows[3]["box"] == [0, 0, SIZE[1], SIZE[0]]
    off = np.array(rows[3]["keypoints"]).reshape(3, 3)[:, :2] - source.joints[3].numpy()
    assert np.abs(off).max() < 0.8
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number in (7, 3):
        Image.fromarray(pixels[number]).save(tmp_path / "in" / "deep" / f"{number:012}.png")
    names = [picture.name for picture in open_pictures(tmp_path / "in")]
    assert names == ["deep/000000000003.png", "deep/000000000007.png"]
    single = model.predict(tmp_path / "in" / "deep" / "000000000003.png")
    assert single[0]["keypoints"] == rows[3]["keypoints"]


def written(folder: Path, source: DotData) -> tuple[Path, np.ndarray, np.ndarray]:
    image, boxes, joints = scene(source, [0, 1])
    folder.mkdir()
    Image.fromarray(image).save(folder / "000000000042.png")
    Image.fromarray(image).save(folder / "000000000043.png")
    return folder, boxes, joints


@pytest.mark.parametrize("kind", ["coco", "by number", "by name"])
def test_files_of_boxes(kind: str, source: DotData, tmp_path: Path) -> None:
    photos, boxes, joints = written(tmp_path / "photos", source)
    rows = [{"image_id": 42, "bbox": box, "score": 0.5, "category_id": 3} for box in boxes.tolist()]
    if kind == "coco":
        images = [{"id": n, "file_name": f"{n:012}.png"} for n in (42, 43, 99)]
        rows = [{k: v for k, v in row.items() if k != "score"} for row in rows]
        crowd = {"image_id": 42, "bbox": [0, 0, 9, 9], "iscrowd": 1}
        content: Any = {"images": images, "annotations": [*rows, crowd]}
    elif kind == "by number":
        content = [*rows, {"image_id": 7, "bbox": [0, 0, 5, 5], "score": 1}]  # not in the folder
    else:
        content = [{"file_name": "000000000042.png", **row} for row in rows]
        for row in content:
            del row["image_id"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    model = bright(source)
    found = model.predict(photos, boxes=tmp_path / "boxes.json")
    assert {row["image"] for row in found} == {"000000000042.png"}
    assert {row["image_id"] for row in found} == {42}
    assert {row["category_id"] for row in found} == {3}
    assert len(found) == 2
    at = np.array([row["keypoints"] for row in found]).reshape(2, 3, 3)[..., :2]
    assert np.abs(np.sort(at, 0) - np.sort(joints, 0)).max() < 0.8
    scores = np.array([np.array(row["keypoints"]).reshape(3, 3)[:, 2].mean() for row in found])
    given = np.array([row["score"] for row in found]) / scores
    assert given == pytest.approx(1.0 if kind == "coco" else 0.5, rel=1e-3)


def test_files_hold_rows_and_pictures(source: DotData, tmp_path: Path) -> None:
    photos, boxes, _ = written(tmp_path / "photos", source)
    rows = [{"image_id": 42, "bbox": box, "score": 1.0} for box in boxes.tolist()]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    model = bright(source)
    out = model.predict_file(
        str(photos), tmp_path / "out" / "a.json", boxes=str(tmp_path / "boxes.json")
    )
    assert len(json.loads(out.read_text())) == 2
    folder = tmp_path / "out" / "a_pictures"
    assert sorted(p.name for p in folder.iterdir()) == ["000000000042.png.jpg", "made_by"]
    with (
        Image.open(folder / "000000000042.png.jpg") as drawn,
        Image.open(photos / "000000000042.png") as plain,
    ):
        assert drawn.size == plain.size
        assert np.abs(np.asarray(drawn, int) - np.asarray(plain)).mean() > 2
    model.predict_file(str(photos), out, pictures=False)
    assert len(json.loads(out.read_text())) == 2  # whole images now; earlier poses are replaced
    model.predict_file(str(photos), out)
    assert len(list(folder.iterdir())) == 3
    (folder / "made_by").unlink()
    with pytest.raises(FileExistsError, match="holds no pictures of surform predict"):
        model.predict_file(str(photos), out)


def test_the_command_predicts_with_a_saved_model(tmp_path: Path, capsys: Any) -> None:
    source = DotData()
    torch.manual_seed(0)
    model = PoseEstimator(ViTPose(**SMALL, joints=3))
    model.fit_to(source.description(), *source.normalizers())
    model.save_pretrained(tmp_path / "model")
    pixels = source.images[:2].permute(0, 2, 3, 1).numpy()
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    words = ["predict", "--ckpt_path", str(tmp_path / "model"), "--data.path", str(tmp_path / "in")]
    out = tmp_path / "poses.json"
    assert main([*words, "--out", str(out), "--data.flip_test", "false"]) == 0
    rows = json.loads(out.read_text())
    loaded = surform.load_model(tmp_path / "model")
    assert rows == json.loads(json.dumps(loaded.predict(tmp_path / "in", flip_test=False)))
    assert f"predictions: {out}" in capsys.readouterr().out


def test_published_weights_are_told_their_joints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = PoseEstimator(ViTPose(**SMALL)).eval()
    image = np.zeros((1, *SIZE, 3), np.uint8)
    with pytest.raises(ValueError, match=r"say which set they are, --data.keypoint_set coco, aic"):
        model.predict(image)
    assert len(model.predict(image, keypoint_set="coco")[0]["keypoints"]) == 51
    assert model.description is not None
    assert model.description.sets == (keypoint_set("coco"),)
    model.save_pretrained(tmp_path / "model")  # what it was told is saved with it
    assert surform.load_model(tmp_path / "model").predict(image)


def test_one_head_of_published_plus_weights() -> None:
    torch.manual_seed(0)
    counts = (17, 20, 16, 17, 17, 133)  # the second head is wider than its set
    net = ViTPosePlus(**SMALL, joints=counts, experts=6, part_features=4)
    model = PoseEstimator(net).eval()
    image = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3), np.uint8)
    for name, count in (("aic", 14), ("mpii", 16), ("coco_wholebody", 133)):
        (row,) = model.predict(image, dataset=name)
        assert len(row["keypoints"]) == 3 * count
    (by_number,) = model.predict(image, dataset=1)
    assert by_number == model.predict(image, dataset="aic")[0]
    with pytest.raises(ValueError, match="dataset is 'cocoa', but the model's heads are numbered"):
        model.predict(image, dataset="cocoa")
    with pytest.raises(ValueError, match="dataset is 6, but the model's heads are numbered"):
        model.predict(image, dataset=6)
    with pytest.raises(ValueError, match="keypoint_set is 'mpii', but dataset chooses a head: one"):
        model.predict(image, keypoint_set="mpii")


def filmed(path: Path, image: np.ndarray, frames: int, turn: int = 0) -> Path:
    """A video of one picture, which players turn by so many degrees to the left."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as made:
        track = made.add_stream("libx264", rate=10, options={"crf": "5"})
        track.width, track.height, track.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
        if turn:
            track.set_display_rotation(turn)
        for _ in range(frames):
            for packet in track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                made.mux(packet)
        for packet in track.encode():
            made.mux(packet)
    return path


def test_a_video_comes_back_with_poses(source: DotData, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    image, boxes, joints = scene(source, [0, 1])
    filmed(tmp_path / "in.mp4", image, frames=5)
    rows = [{"image_id": n, "bbox": box, "score": 1.0} for n in (1, 3) for box in boxes.tolist()]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    given = {"boxes": str(tmp_path / "boxes.json")}
    model = bright(source)
    out = model.predict_file(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", **given)
    with av.open(str(out)) as film:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    assert len(frames) == 5
    change = [np.abs(frame - image).mean() for frame in frames]
    assert min(change[1], change[3]) > 2 * max(change[0], change[2])
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["image_id"] for row in found] == [1, 1, 3, 3]
    at = np.array([row["keypoints"] for row in found[:2]]).reshape(2, 3, 3)[..., :2]
    assert np.abs(np.sort(at, 0) - np.sort(joints, 0)).max() < 2.5  # colors are half as fine
    for name, message in (("x.gif", "written to a .mp4 file, not"), ("x.json", "to a .mp4 file")):
        with pytest.raises(ValueError, match=message):
            model.predict_file(str(tmp_path / "in.mp4"), tmp_path / name)
    with pytest.raises(ValueError, match="pictures is false, but a video comes back as a video"):
        model.predict_file(str(tmp_path / "in.mp4"), tmp_path / "x.mp4", pictures=False)
    (tmp_path / "bad.mp4").write_bytes(b"no film at all")
    with pytest.raises(ValueError, match=r"bad.mp4 cannot be read as a video"):
        model.predict_file(str(tmp_path / "bad.mp4"), tmp_path / "y.mp4")
    assert not (tmp_path / "y.mp4").exists()
    (tmp_path / "out.json").write_text((tmp_path / "boxes.json").read_text())
    given = {"boxes": str(tmp_path / "out.json")}
    with pytest.raises(ValueError, match=r"out\.json would replace the data it is made from"):
        model.predict_file(str(tmp_path / "in.mp4"), tmp_path / "out.mp4", **given)


def test_videos_of_turned_telephones_are_upright(source: DotData, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    image, boxes, joints = scene(source, [0, 1])
    filmed(tmp_path / "in.mp4", np.rot90(image, -1), frames=1, turn=90)
    rows = [{"image_id": 0, "bbox": box, "score": 1.0} for box in boxes.tolist()]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    out = bright(source).predict_file(
        str(tmp_path / "in.mp4"), tmp_path / "out.mp4", boxes=str(tmp_path / "boxes.json")
    )
    found = json.loads((tmp_path / "out.json").read_text())
    at = np.array([row["keypoints"] for row in found]).reshape(2, 3, 3)[..., :2]
    assert np.abs(np.sort(at, 0) - np.sort(joints, 0)).max() < 2.5
    with av.open(str(out)) as made:
        frame = next(made.decode(video=0))
    assert (frame.height, frame.width, frame.rotation) == (*image.shape[:2], 0)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no boxes: without any, leave boxes out"),
        ('{"images": [], "annotations": []}', "holds no boxes"),
        ('{"images": []}', "is no COCO file with boxes: it lacks annotations"),
        ('"x"', "holds neither a COCO file .images, annotations. nor a list of detections"),
        ("[{", "is no JSON that can be read"),
        ('[{"image_id": 42}]', r"entry 0 has no bbox of four numbers .left, top, width, height"),
        ('[{"image_id": 42, "bbox": [1, 2, 0, 4]}]', "entry 0 has a box of 0 x 4 pixels"),
        ('[{"image_id": 42, "bbox": [1, 2, "x", 4]}]', "which are not four numbers"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "has boxes, but none of the 2 images .the fir"),
        ('[{"image_id": 42, "bbox": [1, 2, 3, 4], "score": "high"}]', "score 'high', which is no"),
        ('{"images": [{"id": 1}], "annotations": []}', "image 0 lacks an id or a file_name"),
        ('[{"image_id": 42, "bbox": [500, 2, 3, 4]}]', r"the box \(500, 2, 3, 4\) lies beside the"),
    ],
)  # fmt: skip
def test_files_without_usable_boxes(
    content: str, message: str, source: DotData, tmp_path: Path
) -> None:
    photos, _, _ = written(tmp_path / "photos", source)
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        bright(source).predict_file(
            str(photos), tmp_path / "out.json", boxes=str(tmp_path / "boxes.json")
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boxes.json", "photos"]


@pytest.mark.fault
def test_images_of_one_name(source: DotData, tmp_path: Path) -> None:
    pixels = source.images[0].permute(1, 2, 0).numpy()
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    model, file = bright(source), tmp_path / "boxes.json"
    for key, value in (("image_id", 1), ("file_name", "1.png")):
        file.write_text(json.dumps([{key: value, "bbox": [0, 0, 9, 9]}]))
        with pytest.raises(ValueError, match=r"which may be a/1\.png or b/1\.png: name images by"):
            model.predict(tmp_path / "in", boxes=file)
    file.write_text(json.dumps([{"file_name": "b/1.png", "bbox": [0, 0, 9, 9]}]))
    (row,) = model.predict(tmp_path / "in", boxes=file)
    assert row["image"] == "b/1.png"


@pytest.mark.fault
def test_a_diverged_model(source: DotData, tmp_path: Path) -> None:
    photos, _, _ = written(tmp_path / "photos", source)
    model = bright(source)
    model.net.scale.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"no finite joints in 000000000042.png: its weights have"):
        model.predict_file(str(photos), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.fault
def test_a_video_without_its_library(
    source: DotData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "in.mp4").write_bytes(b"a film")
    with pytest.raises(ImportError, match=r'needs av: pip install "surform\[video\]"'):
        bright(source).predict_file(str(tmp_path / "in.mp4"), tmp_path / "out.mp4")


@pytest.mark.fault
def test_what_cannot_be_looked_at(source: DotData, tmp_path: Path) -> None:
    model = bright(source)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    image = np.zeros((1, *SIZE, 3), np.uint8)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "empty", {}, "holds no images"),
        (tmp_path / "a.txt", {}, "is neither an image .* nor a folder"),
        (image[0], {}, r"images are uint8 of shape \(48, 32, 3\), but must be bytes"),
        (image / 7, {}, "images are float64 of shape"),
        (image, {"boxes": {"3": np.ones((1, 4))}}, "boxes are given for '3', which is none"),
        (image, {"boxes": {"0": np.ones((2, 3))}}, r"have shape \(2, 3\), but must have \(N, 4\)"),
        (
            image,
            {"keypoint_set": "coco"},
            "knows the keypoint set dots: leave keypoint_set 'coco' out",
        ),
        (image, {"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        (image, {"batch_size": "two"}, "at least 1, got 'two'"),
        (image, {"flip_test": "maybe"}, "flip_test is 'maybe', but must be true or false"),
        (image, {"least_score": "high"}, "least_score is 'high', but must be a number"),
        (image, {"dataset": 0.5}, "dataset is 0.5, but the model's heads are numbered"),
        (["a.png", "b.png"], {}, "images are one file or one folder, or an array, not"),
    ]
    for given, options, message in cases:
        with pytest.raises(ValueError, match=message):
            model.predict(given, **options)
    with pytest.raises(FileNotFoundError):
        model.predict(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"poses are written to a \.json file, not to"):
        model.predict_file(str(tmp_path / "empty"), tmp_path / "x.csv")
    with pytest.raises(ValueError, match="pictures is 'perhaps', but must be true or false"):
        model.predict_file(str(tmp_path / "empty"), tmp_path / "x.json", pictures="perhaps")
    net = PoseEstimator(ViTPose(**SMALL, joints=5)).eval()
    with pytest.raises(ValueError, match="heatmaps of 5 joints, the keypoint set 'coco' has 17"):
        net.predict(image, keypoint_set="coco")
    with pytest.raises(ValueError, match="unknown keypoint set 'cooc': did you mean 'coco'"):
        net.predict(image, keypoint_set="cooc")
