from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from surform.registry import create_model

GRID = 16


@pytest.fixture
def surrogate() -> FieldSurrogate:
    """A small trained-looking model: Burgers on 16 points."""
    torch.manual_seed(0)
    net = create_model("galerkin1d", dim=8, depth=1, heads=2, modes=3, decoder_dim=6)
    model = FieldSurrogate(net)
    description = FieldsDescription(
        inputs=("a",),
        targets=("u",),
        axes=("x",),
        shape=(GRID,),
        coordinates={"x": [i / (GRID - 1) for i in range(GRID)]},
        periodic={"x": False},
        units={"a": "m s-1", "u": "m s-1", "x": "m"},
        source={"solver": "burgers", "fingerprint": "0" * 64},
    )
    one = torch.ones(1)
    model.fit_to(description, Normalizer(0.5 * one, 2 * one), Normalizer(0.25 * one, 3 * one))
    model.metrics = {"relative_l2": 0.0123}
    return model.eval()


@pytest.fixture
def fields() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    torch.manual_seed(1)
    return torch.randn(2, GRID, 1), (torch.linspace(0, 1, GRID),)


@pytest.fixture
def saved(surrogate: FieldSurrogate, tmp_path: Path) -> Path:
    return surrogate.save_pretrained(tmp_path / "model")


@pytest.fixture
def edit_config(saved: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Apply a change to config.json of the saved model."""

    def edit(change: Callable[[dict[str, Any]], Any]) -> Path:
        path = saved / "config.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
        return saved

    return edit


@pytest.fixture
def edit_weights(saved: Path) -> Callable[[Callable[[dict[str, torch.Tensor]], Any]], Path]:
    """Apply a change to the tensors of the saved model."""

    def edit(change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
        path = saved / "model.safetensors"
        tensors = {name: value.clone() for name, value in load_file(path).items()}
        change(tensors)
        save_file(tensors, path)
        return saved

    return edit


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hugging Face hub on this machine, and an empty cache."""
    spec = importlib.util.spec_from_file_location(
        "hub_server", Path(__file__).with_name("hub_server.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with module.hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
