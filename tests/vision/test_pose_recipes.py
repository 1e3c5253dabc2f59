"""The recipes of ViTPose are the authors'; one of one's own trains through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import surform
from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.data.pose_published import keypoint_set
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model
from surform.vision.vitpose import SIZES
from surform.vision.vitpose_plus import DATASETS

RECIPES = [name for name in list_recipes() if name.startswith("vision/vitpose-")]
DECAY = {"s": 0.8, "b": 0.75, "l": 0.8, "h": 0.85}
PLUS = {"s": (192, 0.8), "b": (192, 0.75), "l": (256, 0.8), "h": (320, 0.8)}


def test_every_published_size_has_one() -> None:
    published = {f"vision/vitpose-{s}-coco" for s in SIZES}
    published |= {f"vision/vitpose-plus-{s}" for s in SIZES}
    assert set(RECIPES) >= published | {"vision/vitpose-own-poses"}
    for name in RECIPES:
        text = find_recipe(name).read_text()
        for part in (
            "# Source:",
            "# Data:",
            f"# Command: surform fit --config {name}",
            "# Reaches:",
        ):
            assert part in text, (name, part)
        check_names(read_config(name))


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_is_as_published(size: str, plus: bool) -> None:
    name = f"vision/vitpose-plus-{size}" if plus else f"vision/vitpose-{size}-coco"
    config = read_config(name)
    model, data, trainer = (config[k] for k in ("model", "data", "trainer"))
    model, data = model["init_args"], data["init_args"]
    optimizer, schedule = model["optimizer"]["init_args"], model["schedule"]["init_args"]
    assert optimizer == {"lr": 1e-3 if plus else 5e-4, "betas": [0.9, 0.999], "weight_decay": 0.1}
    assert schedule == {"epochs": [170, 200], "warmup": 500}
    assert model["layer_decay"] == (PLUS[size][1] if plus else DECAY[size])
    assert (trainer["max_epochs"], trainer["gradient_clip_val"]) == (210, 1.0)
    assert data["batch_size"] == (128 if plus else 64)
    assert data["image_size"] == [256, 192]
    # of what is varied the defaults are the published numbers
    assert not {"flip", "half_body", "scale", "rotate", "jitter", "padding"} & set(data)
    kind = "vitpose_plus" if plus else "vitpose"
    given = model["net"]["init_args"]
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    published: dict[str, Any] = dict(SIZES[size])
    if plus:
        published["part_features"] = PLUS[size][0]
    with torch.device("meta"):
        net, expected = create_model(kind, **given), create_model(kind, **published)
    shapes = {n: v.shape for n, v in net.state_dict().items()}
    assert shapes == {n: v.shape for n, v in expected.state_dict().items()}
    assert net.arguments["drop_path"] == published["drop_path"]
    if plus:
        sets = [entry["keypoints"] for entry in data["path"]]
        assert [len(keypoint_set(own)) for own in sets] == list(DATASETS.values())
        assert [entry["encoding"] for entry in data["path"]] == [
            "udp", "msra", "udp", "msra", "msra", "msra"
        ]  # fmt: skip


def persons(folder: Path, count: int = 12) -> Path:
    """A COCO file, and images with one bright dot for each of two joints."""
    random = np.random.default_rng(0)
    folder.mkdir()
    images, annotations = [], []
    for number in range(count):
        pixels = np.zeros((80, 60, 3), np.uint8)
        at = random.integers(20, 40, (2, 2))
        for joint, (x, y) in enumerate(at):
            pixels[y - 2 : y + 3, x - 2 : x + 3, joint] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 80})
        joints = [v for x, y in at.tolist() for v in (x, y, 2)]
        annotations.append(
            {
                "id": number, "image_id": number, "category_id": 1, "keypoints": joints,
                "num_keypoints": 2, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0,
            }
        )  # fmt: skip
    category = {
        "id": 1,
        "name": "dot",
        "keypoints": ["left_dot", "right_dot"],
        "skeleton": [[1, 2]],
    }
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "mine.json").write_text(json.dumps(content))
    return folder / "mine.json"


def test_poses_of_ones_own_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = persons(tmp_path / "mine")
    small = {"dim": 16, "depth": 1, "heads": 2, "deconv_channels": "[8,8]", "drop_path": 0}
    words = [w for n, v in small.items() for w in (f"--model.net.{n}", str(v))]
    data = ["--data.path", str(file), "--data.image_size", "[32,32]", "--data.batch_size", "4"]
    data += ["--data.workers", "0"]
    run = ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--out", "run"]
    fit = ["fit", "--config", "vision/vitpose-own-poses", *words, *data, *run]
    assert main(fit) == 0
    page = Path("run/report.html").read_text()
    assert "left_dot" in page
    assert main(["test", "--ckpt_path", "run", "--trainer.accelerator", "cpu"]) == 0
    figures = json.loads(Path("run/test.json").read_text())
    assert {f"test/{n}/clean" for n in ("ap", "ap50", "ar", "pck", "loss")} <= set(figures)
    predict = ["predict", "--ckpt_path", "run", "--data.boxes", str(file), "--data.path", "mine"]
    assert main([*predict, "--out", "found.json"]) == 0
    rows = json.loads(Path("found.json").read_text())
    assert [row["image_id"] for row in rows] == [0, 1, 10, 11, *range(2, 10)]
    assert len(list(Path("found_pictures").glob("*.jpg"))) == 12
    assert main(["export", "run", "run.pt2"]) == 0
    model = surform.load_model("run/model")
    assert model.description.sets[0].joints == ("left_dot", "right_dot")
    wrong = ["--model.weights", "run/model", "--model.net.joints", "3", "--out", "other"]
    assert main([*fit[:-2], *wrong]) == 2


@pytest.mark.fault
def test_predicting_without_a_model_that_knows_its_joints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from surform.vision.pose_estimator import PoseEstimator

    net = create_model("vitpose", image_size=(32, 32), dim=8, depth=1, heads=1, joints=17)
    PoseEstimator(net).save_pretrained(tmp_path / "model")
    persons(tmp_path / "mine", 2)
    words = ["predict", "--ckpt_path", str(tmp_path / "model"), "--data.path"]
    words += [str(tmp_path / "mine"), "--out", str(tmp_path / "found.json")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "say which set they are, --data.keypoint_set coco, aic, mpii" in said
    assert len(said.strip().splitlines()) == 1
    assert main([*words, "--data.keypoint_set", "coco"]) == 0
    assert main([*words, "--data.keypoints", "coco"]) == 2
    assert "did you mean --data.keypoint_set" in capsys.readouterr().err
