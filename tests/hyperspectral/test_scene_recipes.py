"""The recipes of scenes are valid and as published; one trains and maps by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.recipes import list_recipes
from tests.data.scene_files import labelled, scene

RECIPES = [name for name in list_recipes() if name.startswith("hyperspectral/")]
SCENES = {"houston": 15, "pavia-university": 9, "salinas": 16, "indian-pines": 16}
PUBLISHED = [f"pyformer-{name}{end}" for name in SCENES for end in ("", "-paper")]


def test_every_scene_has_both_divisions() -> None:
    quick = {"hyperspectral/quickstart", "hyperspectral/quickstart-cnn"}
    assert set(RECIPES) == quick | {f"hyperspectral/{name}" for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_valid_and_as_published(name: str) -> None:
    config = read_config(f"hyperspectral/{name}")
    check_names(config)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert model["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-4}}
    assert (data["window"], data["components"], data["batch_size"]) == (8, 15, 56)
    assert config["trainer"]["max_epochs"] == 50
    assert len(data["classes"]) == SCENES[name.removeprefix("pyformer-").removesuffix("-paper")]
    paper = (data.get("division"), data.get("components_from"))
    assert paper == (("overlapping", "scene") if name.endswith("-paper") else (None, None))


def test_the_small_networks_learn_from_the_same_pixels() -> None:
    one, other = (read_config(f"hyperspectral/quickstart{end}") for end in ("", "-cnn"))
    assert one["data"] == other["data"]
    assert one["model"]["init_args"]["net"] != other["model"]["init_args"]["net"]


def test_a_recipe_trains_and_maps_a_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "scene.npz", *scene())
    words = [
        "fit",
        "--config",
        "hyperspectral/quickstart",
        "--out",
        "run",
        "--data.generate",
        "null",
    ]
    words += ["--data.path", "scene.npz", "--data.classes", "[grass,soil,rock]"]
    words += ["--data.drop_bands", "[]", "--data.components", "3", "--data.block", "10"]
    words += ["--data.window", "5", "--trainer.max_epochs", "1"]
    assert main(words) == 0
    found = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert {f"validation/{name}/clean" for name in ("oa", "aa", "kappa", "loss")} == set(found)
    where = ["--data.path", "scene.npz", "--data.tile", "16"]
    assert main(["predict", "--ckpt_path", "run/model", *where, "--out", "map.npy"]) == 0
    assert set(np.unique(np.load(tmp_path / "map.npy"))) <= {1, 2, 3}
