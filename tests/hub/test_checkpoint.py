from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from surform.hub import load_model
from surform.hub.official.checkpoint import read_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def same(state):
    return state.keys() == STATE.keys() and all(torch.equal(state[n], STATE[n]) for n in STATE)


@pytest.mark.parametrize("holder", [None, "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_state_dicts_are_found_where_trainers_put_them(tmp_path, holder, prefix):
    state = {prefix + name: value for name, value in STATE.items()}
    torch.save({holder: state, "epoch": 3} if holder else state, tmp_path / "official.pt")
    assert same(read_checkpoint(tmp_path / "official.pt"))


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "official.safetensors")
    assert same(read_checkpoint(tmp_path / "official.safetensors"))


def test_prefixes_of_safetensors_are_stripped(tmp_path):
    save_file({f"module.{n}": t for n, t in STATE.items()}, tmp_path / "official.safetensors")
    assert same(read_checkpoint(tmp_path / "official.safetensors"))


@pytest.mark.parametrize("holder", [None, "model"])
def test_counters_may_stand_beside_the_tensors(tmp_path, holder):
    state = {**STATE, "step": 7, "name": "ema", "best": None}
    torch.save({holder: state, "epoch": 3} if holder else state, tmp_path / "official.pt")
    assert same(read_checkpoint(tmp_path / "official.pt"))


@pytest.mark.fault
@pytest.mark.parametrize("system", ["factformer", "galerkin"])
def test_a_foreign_checkpoint_is_named(tmp_path, system):
    torch.save(STATE, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match=r"constructor arguments"):
        load_model(tmp_path / "foreign.pt", system=system)


@pytest.mark.fault
@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_payload_is_refused_and_never_runs(tmp_path, save):
    target = tmp_path / "payload-was-executed"
    save({"state_dict": STATE, "extra": Payload(target)}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt is (refused|damaged)"):
        load_model(tmp_path / "evil.pt", system="galerkin", constructor={})
    assert not target.exists()


@pytest.mark.fault
def test_a_pickled_model_is_refused_with_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"never unpickles objects.*Linear.*state_dict\(\)"):
        read_checkpoint(tmp_path / "whole.pt")


def test_truncated_checkpoint(tmp_path):
    torch.save(STATE, tmp_path / "official.pt")
    content = (tmp_path / "official.pt").read_bytes()
    (tmp_path / "official.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged or no torch checkpoint"):
        read_checkpoint(tmp_path / "official.pt")


@pytest.mark.parametrize("content", [b"", b"hello, this is no checkpoint"])
def test_other_files(tmp_path, content):
    (tmp_path / "official.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"official\.pt is (damaged|refused)"):
        read_checkpoint(tmp_path / "official.pt")


def test_checkpoint_without_state_dict(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "official.pt")
    with pytest.raises(ValueError, match=r"holds no state dict \(its keys are epoch, loss\)"):
        read_checkpoint(tmp_path / "official.pt")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "official.pt")
