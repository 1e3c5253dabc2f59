"""The recipes of compact transformers are the authors'; one trains through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model
from surform.vision.published import published
from tests.data.image_files import folder

RECIPES = [name for name in list_recipes() if name.startswith("vision/cct-")]
# published name, lr, weight decay, epochs, batch, least crop
PUBLISHED = {
    "cct-cifar10-300": ("cct_7_3x1_32", 5.5e-4, 6e-2, 300, 128, 0.8),
    "cct-cifar10-1500": ("cct_7_3x1_32_sine", 5e-4, 5e-2, 1500, 128, 0.8),
    "cct-cifar10-5000": ("cct_7_3x1_32_sine", 5e-4, 5e-2, 5000, 128, 0.8),
    "cct-cifar100-300": ("cct_7_3x1_32_c100", 6e-4, 6e-2, 300, 128, 0.8),
    "cct-cifar100-1500": ("cct_7_3x1_32_c100", 7e-4, 5e-2, 1500, 128, 0.8),
    "cct-cifar100-5000": ("cct_7_3x1_32_c100", 5e-4, 5e-2, 5000, 128, 0.8),
    "cct-flowers102-300": ("cct_7_7x2_224_fl", 5e-4, 6e-2, 300, 96, 0.8),
    "cct-flowers102-384": ("cct_14_7x2_384_fl", 5e-5, 5e-2, 300, 20, 0.8),
    "cct-imagenet-300": ("cct_14_7x2_224", 5e-4, 5e-2, 300, 128, 0.08),
    "cct-imagenet-384": ("cct_14_7x2_384", 1e-5, 0.0, 30, 96, 0.08),
}


def test_every_published_experiment_has_one() -> None:
    own = {"vision/cct-digits", "vision/cct-own-images"}
    assert set(RECIPES) == own | {f"vision/{name}" for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_valid_and_as_published(name: str) -> None:
    config = read_config(f"vision/{name}")
    check_names(config)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    official, lr, decay, epochs, batch, least = PUBLISHED[name]
    optimizer, schedule = model["optimizer"]["init_args"], model["schedule"]["init_args"]
    assert (optimizer["lr"], optimizer["weight_decay"]) == (lr, decay)
    assert config["trainer"]["max_epochs"] == epochs + schedule["cooldown"]
    assert data["batch_size"] == batch
    assert data["crop_scale"][0] == least
    assert data["randaugment"] == "rand-m9-mstd0.5-inc1"
    assert (model["mixup"], model["cutmix"], data["flip"]) == (0.8, 1.0, 0.5)
    assert model.get("erasing", 0.0) == (0.0 if name == "cct-cifar10-300" else 0.25)
    assert model.get("mix_epochs") == (175 if name == "cct-cifar10-300" else None)
    assert ("weights" in model) == name.endswith("384")
    with torch.device("meta"):
        net = create_model("cct", **model["net"]["init_args"])
        legacy = {"legacy_sine": True} if official.endswith("sine") else {}
        expected = published(official, **legacy)
    shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (net, expected)]
    assert shapes[0] == shapes[1]
    text = find_recipe(f"vision/{name}").read_text()
    assert f"surform fit --config vision/{name} --data.path {data['path']}" in text
    assert "# Reaches:" in text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    return tmp_path


def test_own_images_from_fit_to_predict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(here / "photos", each=10)
    words = (
        "fit --config vision/cct-own-images --data.path photos --data.image_size 8 --out r "
        "--model.net.dim 16 --model.net.depth 1 --model.net.heads 2 --model.net.kernel_size 3 "
        "--data.batch_size 4 --data.workers 0 --trainer.max_epochs 2"
    )
    assert main(words.split()) == 0, capsys.readouterr().err
    assert main(["test", "--ckpt_path", "r"]) == 0
    figures = json.loads((here / "r" / "test.json").read_text())
    assert 0 <= figures["test/top1/clean"] <= 1
    assert main(["predict", "--ckpt_path", "r", "--data.path", "photos", "--out", "found.csv"]) == 0
    assert len(pd.read_csv("found.csv")) == 30
    capsys.readouterr()
    for name in ("photos", "photos/cat/0.png", "digits"):
        assert main(["info", name]) == 0
    said = capsys.readouterr().out
    for text in ("photos: 30 images", "classes: cat 10, dog 10, owl 10", "1,797 images"):
        assert text in said
    assert "Confusion" in (here / "r" / "report.html").read_text()


@pytest.mark.fault
def test_a_damaged_file_that_a_worker_meets_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(here / "photos", each=10)
    for number in range(10):
        damaged = here / "photos" / "cat" / f"{number}.png"
        damaged.write_bytes(damaged.read_bytes()[:150])
    words = (
        "fit --config vision/cct-own-images --data.path photos --data.image_size 8 --out r "
        "--model.net.dim 16 --model.net.depth 1 --model.net.heads 2 --model.net.kernel_size 3 "
        "--data.batch_size 4 --data.workers 1 --data.cache files --trainer.max_epochs 1"
    )
    assert main([*words.split(), "--data.normalize", "none", "--no_report"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("surform fit: ")
    assert "is damaged (" in said
    assert "Traceback" not in said
