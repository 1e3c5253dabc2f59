from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from surform.data.atomic import writer_lock
from surform.hub import load_model
from surform.operators.surrogate import FieldSurrogate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_bitwise(surrogate, fields, tmp_path, dtype):
    surrogate.to(dtype)
    inputs, coordinates = fields[0].to(dtype), tuple(c.to(dtype) for c in fields[1])
    loaded = load_model(surrogate.save_pretrained(tmp_path / "model"))
    before, after = surrogate.state_dict(), loaded.state_dict()
    assert {n: t.dtype for n, t in before.items()} == {n: t.dtype for n, t in after.items()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(surrogate(inputs, coordinates), loaded(inputs, coordinates))


def test_everything_about_the_model_comes_back(surrogate, tmp_path):
    surrogate.metrics = {"relative_l2": 0.5, "mse": float("nan")}
    surrogate.protocols = {"mse": "paper"}
    surrogate.card = {"limits": "Only for small waves."}
    loaded = load_model(surrogate.save_pretrained(tmp_path / "model"))
    assert isinstance(loaded, FieldSurrogate)
    assert not loaded.training
    assert loaded.description == surrogate.description
    assert loaded.net.arguments == surrogate.net.arguments
    assert loaded.metrics["relative_l2"] == 0.5
    assert loaded.metrics["mse"] != loaded.metrics["mse"]
    assert loaded.protocols == {"relative_l2": "clean", "mse": "paper"}
    assert loaded.card == surrogate.card


def test_the_boundary_survives(surrogate, fields, tmp_path):
    zero = FieldSurrogate(surrogate.net, boundary="zero")
    zero.fit_to(surrogate.description, surrogate.input_normalizer, surrogate.target_normalizer)
    output = load_model(zero.save_pretrained(tmp_path / "model"))(*fields)
    assert torch.equal(output[:, [0, -1]], torch.zeros(2, 2, 1))
    assert output[:, 1:-1].abs().min() > 0


def test_the_walls_survive(surrogate, fields, tmp_path):
    walled = FieldSurrogate(surrogate.net, walls=["u"])
    walled.fit_to(surrogate.description, surrogate.input_normalizer, surrogate.target_normalizer)
    loaded = load_model(walled.save_pretrained(tmp_path / "model"))
    assert isinstance(loaded, FieldSurrogate)
    assert loaded.walls == ("u",)
    output = loaded(*fields)
    assert torch.equal(output[:, 0], torch.zeros(2, 1))
    assert output[:, 1:].abs().min() > 0


def test_statistics_are_in_the_weights_file(saved):
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert file.get_tensor("input_normalizer.mean").item() == 0.5
        assert file.get_tensor("target_normalizer.std").item() == 3


def test_the_folder_holds_only_plain_files(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((saved / "config.json").read_text())
    assert config["format_version"] == 3
    assert config["net"]["name"] == "galerkin1d"
    assert config["net"]["arguments"]["modes"] == 3


def test_the_card_states_figures_units_and_how_to_load(saved):
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: surform\n")
    for text in ("0.0123", "clean", "m s-1", "surform.load_model", "arXiv 2105.14995", "Limits"):
        assert text in card


def test_a_card_of_ones_own_is_kept(surrogate, tmp_path):
    folder = surrogate.save_pretrained(tmp_path / "model", model_card="# Mine\n")
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_saving_again_replaces_the_model(surrogate, saved):
    surrogate.metrics = {"relative_l2": 0.5}
    surrogate.save_pretrained(saved)
    assert load_model(saved).metrics == {"relative_l2": 0.5}
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.fault
def test_unfitted_statistics_are_refused(surrogate, tmp_path):
    with pytest.raises(ValueError, match="input_normalizer and target_normalizer have no stat"):
        FieldSurrogate(surrogate.net).save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
def test_a_folder_with_other_files_is_never_replaced(surrogate, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        surrogate.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.fault
def test_a_failed_write_leaves_the_old_model(surrogate, saved, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = (saved / "model.safetensors").read_bytes()
    monkeypatch.setattr("surform.hub.saving.write_config", broken)
    with pytest.raises(OSError, match="no space left"):
        surrogate.save_pretrained(saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_network_that_does_not_know_its_arguments_is_refused(surrogate, tmp_path):
    class Plain(nn.Module):
        time_window = False

    model = FieldSurrogate(Plain())
    model.fit_to(surrogate.description, surrogate.input_normalizer, surrogate.target_normalizer)
    with pytest.raises(ValueError, match="record_arguments"):
        model.save_pretrained(tmp_path / "model")


def test_arguments_that_are_no_plain_values_are_refused(surrogate, tmp_path):
    surrogate.net.arguments["attention"] = torch.nn.ReLU()
    with pytest.raises(ValueError, match=r"GalerkinTransformer1d\(attention=\) is a ReLU"):
        surrogate.save_pretrained(tmp_path / "model")


def test_from_pretrained_checks_the_class(saved, surrogate):
    class Other(FieldSurrogate):
        pass

    assert type(FieldSurrogate.from_pretrained(saved)) is FieldSurrogate
    with pytest.raises(TypeError, match="holds a FieldSurrogate, not a Other"):
        Other.from_pretrained(saved)


def test_relative_paths_work(surrogate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert surrogate.save_pretrained("here") == Path("here")
    assert load_model("here").metrics == surrogate.metrics


def test_everybody_whom_the_umask_admits_can_read_the_files(surrogate, tmp_path):
    before = os.umask(0o022)
    try:
        folder = surrogate.save_pretrained(tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_run_is_loaded_by_its_folder(surrogate, fields, tmp_path):
    surrogate.save_pretrained(tmp_path / "run" / "model")
    loaded = load_model(tmp_path / "run")
    assert torch.equal(loaded(*fields), surrogate.eval()(*fields))


@pytest.mark.fault
def test_a_second_writer_is_told_and_what_a_killed_one_left_is_removed(surrogate, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / f"model.partial-{child.pid}").mkdir()
    with (
        writer_lock(tmp_path / "model"),
        pytest.raises(BlockingIOError, match=r"model is being written by process \d+"),
    ):
        surrogate.save_pretrained(tmp_path / "model")
    surrogate.save_pretrained(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
