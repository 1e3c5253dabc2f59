"""Recipes of Long Range Arena, the attention by configuration, from fit to predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import surform
from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import apply_overrides, read_config
from surform.data.solvers.options import full_options
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model
from tests.test_docs import blocks, commands

RECIPES = [name for name in list_recipes() if name.startswith("lra/")]
SIZES = {"vocab_size": 257, "length": 1024, "num_classes": 2, "sequences": 1}


def test_all_tasks_are_there() -> None:
    tasks = ("listops", "text", "retrieval", "image", "pathfinder")
    assert {f"lra/{task}" for task in tasks} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid(name: str) -> None:
    config = read_config(name)
    check_names(config)
    given = config["model"]["init_args"]["net"]["init_args"]
    assert all(given[size] is None for size in SIZES)
    with torch.device("meta"):
        create_model("sequence_encoder", **given | SIZES)
    made = config["data"]["init_args"].get("generate")
    text = find_recipe(name).read_text()
    if made:
        own = {k: v for k, v in made.items() if k not in ("solver", "samples", "seed")}
        full_options(made["solver"], own)
        assert sum(config["data"]["init_args"]["split"].values()) == made["samples"]
    else:
        assert "no solver" in text
    assert f"surform fit --config {name}" in text
    assert "# Source:" in text
    assert "# Reaches:" in text


def test_the_attention_of_the_model_is_that_of_its_network() -> None:
    words = ["--model.attention", "lsh", "--model.attention_options.bucket_size", "32"]
    given = apply_overrides(read_config("lra/listops"), words)["model"]["init_args"]["net"]
    assert given["init_args"]["attention"] == "lsh"
    assert given["init_args"]["attention_options"] == {"bucket_size": 32}


def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    made = {"solver": "listops", "samples": 120, "min_length": 7, "max_length": 30}
    words = f"fit --config lra/listops-short --out r --model.attention {kind} --model.net.dim 16"
    words += " --data.path s.zarr --trainer.max_epochs 1 --data.batch_size 16 --no_report"
    split = json.dumps({"train": 80, "validation": 20, "test": 20})
    assert main([*words.split(), "--data.generate", json.dumps(made), "--data.split", split]) == 0


@pytest.mark.slow
def test_from_fit_to_predictions_with_an_attention_of_ones_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(tmp_path, monkeypatch, "delta")
    assert main(["test", "--ckpt_path", "best", "--out", "r"]) == 0
    assert 0 <= json.loads(Path("r/test.json").read_text())["test/top1/clean"] <= 1
    words = ["predict", "--ckpt_path", "r/model", "--data.path", "s.zarr", "--out", "a.csv"]
    assert main(words) == 0
    model = surform.load_model("r/model")
    assert model.net.arguments["attention"] == "delta"
    table = model.predict("s.zarr", batch_size=50)
    pd.testing.assert_frame_equal(
        pd.read_csv("a.csv", dtype={"prediction": str}), table, rtol=1e-4, check_dtype=False
    )
    assert model.example_inputs()["tokens"].shape[0] == 2


@pytest.mark.fault
def test_an_unknown_attention_is_said_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "fit --config lra/listops-short --model.attention performer --data.generate null"
    assert main([*words.split(), "--data.path", "none.zarr"]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_commands_of_the_page_are_valid() -> None:
    found = [
        words
        for language, text in blocks("docs/long-range.md")
        if language == "shell"
        for words in commands(text)
    ]
    assert {words[0] for words in found} >= {"fit", "generate", "verify"}
    for words in found:
        if words[0] == "generate":
            assert main([*words[:2], "--help"]) == 0
        if words[0] == "fit":
            check_names(apply_overrides(read_config(words[2]), words[3:]))


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, text in blocks("docs/long-range.md"):
        if language == "python":
            exec(compile(text, "long-range", "exec"), names)
    assert names["logits"].shape == (4, 10)  # type: ignore[attr-defined]
