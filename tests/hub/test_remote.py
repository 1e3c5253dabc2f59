from __future__ import annotations

import pytest
import torch

from surform.hub import load_model


def test_pushed_model_loads_back(surrogate, fields, hub):
    url = surrogate.push_to_hub("me/burgers", token="secret")
    assert url.startswith(f"{hub.url}/me/burgers/commit/")
    assert sorted(hub.repositories["me/burgers"]["main"]) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert set(hub.tokens) == {"Bearer secret"}
    loaded = load_model("hf://me/burgers")
    assert torch.equal(loaded(*fields), surrogate(*fields))


def test_a_revision_has_its_own_weights(surrogate, hub):
    surrogate.push_to_hub("me/burgers", private=True)
    surrogate.metrics = {"relative_l2": 0.5}
    surrogate.push_to_hub("me/burgers", revision="better")
    assert hub.private["me/burgers"]
    assert load_model("hf://me/burgers").metrics == {"relative_l2": 0.0123}
    assert load_model("hf://me/burgers@better").metrics == {"relative_l2": 0.5}


def test_only_the_models_own_files_are_fetched(surrogate, hub, tmp_path):
    surrogate.push_to_hub("me/burgers")
    hub.repositories["me/burgers"]["main"]["payload.pkl"] = b"evil"
    load_model("hf://me/burgers")
    names = {path.name for path in (tmp_path / "cache").rglob("*")}
    assert "config.json" in names
    assert "payload.pkl" not in names


@pytest.mark.parametrize("name", ["hf://me/nothing", "hf://me/burgers@v9"])
def test_missing_repository_or_revision(surrogate, hub, name):
    surrogate.push_to_hub("me/burgers")
    with pytest.raises(FileNotFoundError, match="no such repository or revision"):
        load_model(name)


def test_unreachable_hub(surrogate, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="the hub cannot be reached"):
        load_model("hf://me/burgers")
    with pytest.raises(OSError, match="the hub cannot be reached"):
        surrogate.push_to_hub("me/burgers")


def test_bad_repository_name_is_refused_before_anything_is_sent(surrogate, hub):
    with pytest.raises(ValueError, match="write owner/repo"):
        surrogate.push_to_hub("burgers")
    assert hub.tokens == []
