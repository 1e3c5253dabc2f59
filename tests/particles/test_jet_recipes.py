"""Recipes of jets are valid, and as published; the pages' commands and lines run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.data.jets_module import JetsData
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model
from tests.data.jet_files import hls4ml, jetclass
from tests.particles.jet_data import jets_path, tagger
from tests.test_docs import blocks, commands

RECIPES = [name for name in list_recipes() if name.startswith("particles/")]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid(name: str, tmp_path: Path) -> None:
    config = read_config(name)
    check_names(config)
    given = config["model"]["init_args"]["net"]["init_args"]
    path = tmp_path / "a.h5"
    if name.startswith("particles/quickstart"):
        data = JetsData(str(tmp_path / "j.h5"), {"solver": "jets", "samples": 60, "particles": 4})
    else:
        (jetclass if "jetclass" in name else hls4ml)(path, 100)
        data = JetsData(**config["data"]["init_args"] | {"path": str(path)})
    sizes = {key: len(value) for key, value in data.description().sizes().items()}
    assert {key: given[key] or sizes[key] for key in sizes} == sizes
    with torch.device("meta"):
        create_model("fixed_jetformer" if "8bit" in name else "jetformer", **given | sizes)
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name}" in text
    assert "# Reaches:" in text


def test_recipes_are_as_published() -> None:
    for name, sizes, particles in (
        ("hls4ml", (16, 64, 3, 2), 30),
        ("hls4ml-8p", (3, 8, 4, 2), 8),
    ):
        config = read_config(f"particles/{name}")
        given = config["model"]["init_args"]["net"]["init_args"]
        data, trainer = config["data"]["init_args"], config["trainer"]
        assert tuple(given[n] for n in ("in_channels", "dim", "depth", "heads")) == sizes
        assert data["particles"] == particles
        assert (data["batch_size"], data["normalize"]) == (256, "padded")
        assert (trainer["max_epochs"], config["seed_everything"]) == (25, 20)
        assert trainer["callbacks"][0]["init_args"]["patience"] == 4


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with jets.zarr and runs/jets/model, as the pages leave them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jets.zarr").symlink_to(jets_path())
    tagger(dim=16).save_pretrained(tmp_path / "runs/jets/model")
    return tmp_path


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("page", ["models/jetformer", "particles"])
def test_the_python_of_the_pages_runs(page: str) -> None:
    names: dict[str, Any] = {}
    for language, text in blocks(f"docs/{page}.md"):
        if language == "python":
            exec(compile(text.replace("range(200)", "range(50)"), page, "exec"), names)
    if "chances" in names:
        assert names["chances"].shape == (4, 5)
        assert names["emulated"].net.arguments["activation_width"] == 8
    else:
        assert names["batch"].particles.shape == (3, 20, 3)


@pytest.mark.usefixtures("trained")
def test_the_commands_of_the_pages_run() -> None:
    found = [
        words
        for page in ("docs/models/jetformer.md", "docs/particles.md")
        for language, text in blocks(page)
        if language == "shell"
        for words in commands(text)
    ]
    assert {words[0] for words in found} >= {"fit", "test", "predict", "generate", "info", "verify"}
    for words in found:
        if words[0] == "generate":
            assert main([*words, "--help"]) == 0
        elif words[0] == "info":
            assert main(words) == 0
        elif words[0] == "fit":
            check_names(read_config(words[2]))
