"""What the pages on sounds tell to type runs; recipes are valid and build their networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from surform.cli.fit_check import check_names, import_class
from surform.cli.fit_config import read_config
from surform.recipes import list_recipes
from tests.test_docs import blocks, folder, run

__all__ = ["folder"]  # a fixture

RECIPES = [name for name in list_recipes() if name.startswith("audio/")]
# lr, epochs, batch, frames
PUBLISHED = {
    "audio/ast-esc50": (1e-5, 25, 48, 512),
    "audio/ast-speechcommands": (2.5e-4, 30, 128, 128),
    "audio/ast-audioset": (1e-5, 5, 12, 1024),
    "audio/passt-audioset": (2e-5, 130, 12, 998),
    "audio/passt-esc50": (1e-5, 10, 12, 500),
    "audio/soft-moa-esc50": (5e-3, 50, 32, 500),
}


@pytest.mark.slow
def test_the_page_on_sounds_runs(folder: Path) -> None:
    run("docs/audio.md")
    assert len(pd.read_csv("tones.csv")) == 60


@pytest.mark.parametrize("page", ["ast", "passt"])
def test_the_python_of_the_models_runs(page: str, folder: Path) -> None:
    given: dict[str, object] = {}
    for language, text in blocks(f"docs/models/{page}.md"):
        if language == "python":
            exec(compile(text, f"{page}.md", "exec"), given)
    assert given["logits"].shape == (2, 10)  # type: ignore[attr-defined]
    if page == "ast":
        assert given["share"] < 0.2  # type: ignore[operator]
        assert type(given["again"]).__name__ == "AudioClassifier"


def test_every_recipe_is_known() -> None:
    own = {"audio/quickstart", "audio/passt-sounds", "audio/soft-moa", "audio/full-finetuning"}
    assert set(RECIPES) == own | set(PUBLISHED)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_as_published(name: str) -> None:
    config = read_config(name)
    check_names(config)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    if name in PUBLISHED:
        found = (model["optimizer"]["init_args"]["lr"], config["trainer"]["max_epochs"])
        assert (*found, data["batch_size"], data["frames"]) == PUBLISHED[name]
    net = dict(model["net"]["init_args"])
    classes = 50 if name in PUBLISHED else 8
    sizes = {"num_classes": classes, "frames": data.get("frames", 98)}
    sizes["mel_bins"] = data.get("mel_bins", 128)
    for argument, value in sizes.items():
        assert net.get(argument) in (None, value), argument
        net[argument] = value
    with torch.device("meta"):
        built = import_class("model.net", model["net"]["class_path"])(**net)
    if "soft-moa" in name:
        trained = sum(p.numel() for p in built.parameters() if p.requires_grad)
        assert trained < 0.05 * sum(p.numel() for p in built.parameters())
