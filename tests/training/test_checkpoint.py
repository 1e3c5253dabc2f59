"""Training checkpoints: plain values only, the same from Python and from the command line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from surform.operators.surrogate import FieldSurrogate
from surform.operators.task import FieldTask
from surform.registry import create_model
from surform.training.checkpoint import load_surrogate, read_checkpoint
from tests.training.toy import Smooth, ToyData, trainer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    task = FieldTask(net=Smooth(dim=5))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(task, ToyData())
    run.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    return tmp_path / "a.ckpt"


def test_nothing_in_a_checkpoint_is_pickled_python(checkpoint: Path) -> None:
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["surform_config"]["net"]["arguments"] == {
        "in_channels": 1,
        "out_channels": 1,
        "dim": 5,
        "dropout": 0.0,
    }
    assert "hyper_parameters" not in stored


def test_statistics_are_in_the_checkpoint(checkpoint: Path) -> None:
    stored = read_checkpoint(checkpoint)["state_dict"]
    mean = ToyData().normalizers()[0].mean
    torch.testing.assert_close(stored["surrogate.input_normalizer.mean"], mean)


def test_the_surrogate_comes_back_from_the_file_alone(checkpoint: Path) -> None:
    surrogate = load_surrogate(checkpoint, net=Smooth(dim=5))
    batch = ToyData().collate([0, 1])
    task = FieldTask(net=Smooth(dim=5))
    task.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    expected = task.eval().surrogate(batch.inputs, batch.coordinates)
    assert torch.equal(surrogate(batch.inputs, batch.coordinates), expected)
    assert surrogate.description == ToyData().description()


def test_a_checkpoint_with_former_names_of_arguments_is_read(tmp_path: Path) -> None:
    net = create_model("factformer2d_steady", dim=8, depth=1, heads=2, head_dim=4)
    surrogate = FieldSurrogate(net)
    stored = {
        "format_version": 1,
        "kind": "fields",
        "net": {
            "name": "factformer2d_steady",
            "arguments": {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4},
        },
        "settings": surrogate.settings(),
        "description": None,
        "config": {},
    }
    state = {f"surrogate.{name}": value for name, value in surrogate.state_dict().items()}
    torch.save({"surform_config": stored, "state_dict": state}, tmp_path / "old.ckpt")
    found = load_surrogate(tmp_path / "old.ckpt")
    assert found.net.arguments["head_dim"] == 4
    torch.testing.assert_close(found.state_dict(), surrogate.state_dict(), rtol=0, atol=0)


@pytest.mark.fault
def test_a_file_does_not_choose_what_is_imported(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="not registered and is not imported"):
        load_surrogate(checkpoint)


def test_a_run_from_python_resumes(checkpoint: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=2)
    run.fit(FieldTask(net=Smooth(dim=5)), ToyData(), ckpt_path=checkpoint, weights_only=True)
    assert run.global_step == 10


class Payload:
    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.mark.fault
def test_a_payload_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"surform_config": Payload()}, "bad.ckpt")
    with pytest.raises(ValueError, match="nothing of it was executed"):
        read_checkpoint("bad.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="is not a checkpoint, or it is truncated"):
        read_checkpoint("plain.ckpt")
    assert not Path("executed").exists()


@pytest.mark.fault
def test_truncated_files_are_refused(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for share in (0.1, 0.5, 0.9):
        checkpoint.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"truncated|damaged"):
            read_checkpoint(checkpoint)


@pytest.mark.fault
def test_foreign_and_newer_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match="was not written by surform"):
        read_checkpoint(tmp_path / "foreign.ckpt")
    torch.save({"surform_config": {"format_version": 99}}, tmp_path / "newer.ckpt")
    with pytest.raises(ValueError, match="has format 99"):
        read_checkpoint(tmp_path / "newer.ckpt")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "missing.ckpt")


@pytest.mark.fault
def test_weights_of_another_network_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=2)
    with pytest.raises(ValueError, match=r"net.body.0.weight is \(5, 1\) there and \(6, 1\) here"):
        run.fit(FieldTask(net=Smooth(dim=6)), ToyData(), ckpt_path=checkpoint, weights_only=True)
