from __future__ import annotations

import json

import pytest
import torch

import surform
from surform.hub import index
from surform.hub.config import read_config
from surform.hub.loading import load_model


def test_added_models_load_by_name(saved, surrogate, fields, tmp_path, monkeypatch):
    root = tmp_path / "package"
    index.add(saved, "burgers-toy", root)
    entry = index.entries(root)["burgers-toy"]
    assert entry["net"] == "galerkin1d"
    assert entry["summary"] == "Predicts u from a of burgers data on 16 points."
    assert entry["summary"] in (saved / "README.md").read_text()
    assert entry["metrics"]["relative_l2"] == {"value": 0.0123, "protocol": "clean"}
    folder = index.model_folder("burgers-toy", root)
    assert torch.equal(load_model(folder)(*fields), surrogate(*fields))
    monkeypatch.setattr(index.model_folder, "__defaults__", (root,))
    assert torch.equal(surform.load_model("burgers-toy")(*fields), surrogate(*fields))


def test_a_path_goes_before_a_shipped_name(saved, tmp_path, monkeypatch):
    saved.rename(tmp_path / "galerkin-darcy")
    monkeypatch.chdir(tmp_path)
    assert load_model("galerkin-darcy").description.targets == ("u",)
    assert load_model("galerkin-darcy").description.shape == (16,)
    assert load_model("galerkin-burgers").description.shape == (512,)


def test_every_shipped_model_says_what_it_predicts():
    for name, entry in index.entries().items():
        folder = index.model_folder(name)
        assert folder is not None
        assert entry["summary"] in (folder / "README.md").read_text()
        description = load_model(name).description
        assert description is not None
        own = read_config(folder).card.get("summary")
        assert entry["summary"] == (own or description.summary())
        files = (folder / file for file in ("config.json", "model.safetensors", "README.md"))
        assert entry["bytes"] == sum(file.stat().st_size for file in files)


def test_adding_again_replaces(saved, surrogate, tmp_path):
    root = tmp_path / "package"
    index.add(saved, "burgers-toy", root)
    surrogate.metrics = {"relative_l2": 0.5}
    surrogate.save_pretrained(saved)
    index.add(saved, "burgers-toy", root)
    assert index.entries(root)["burgers-toy"]["metrics"]["relative_l2"]["value"] == 0.5


@pytest.mark.parametrize("name", ["Burgers", "../burgers", "burgers toy", "", "-x"])
def test_bad_names_are_refused(saved, tmp_path, name):
    with pytest.raises(ValueError, match="lower-case letters"):
        index.add(saved, name, tmp_path / "package")


def test_large_models_are_refused(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "LARGEST", 1000)
    with pytest.raises(ValueError, match="shipped models stay below 1,000"):
        index.add(saved, "burgers-toy", tmp_path / "package")


def test_models_that_do_not_load_are_refused(saved, tmp_path):
    (saved / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="truncated"):
        index.add(saved, "burgers-toy", tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_the_command_line_adds(saved, tmp_path, monkeypatch, capsys):
    root = tmp_path / "package"
    monkeypatch.setattr(index.add, "__defaults__", (root,))
    assert index.main(["add", str(saved), "burgers-toy"]) == 0
    assert "burgers-toy" in capsys.readouterr().out
    assert json.loads((root / "index.json").read_text()).keys() == {"burgers-toy"}
    with pytest.raises(SystemExit):
        index.main(["add", str(tmp_path / "nowhere"), "burgers-toy"])


def test_every_shipped_model_is_whole():
    for name, entry in index.entries().items():
        folder = index.model_folder(name)
        assert entry["bytes"] < index.LARGEST
        assert read_config(folder).metrics == entry["metrics"]
        assert load_model(name).metrics
        assert "Measured" in (folder / "README.md").read_text()
