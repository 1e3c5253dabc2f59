from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform.cli import main

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = GOLDEN / "galerkin" / "burgers_galerkin_ifft.json"


@pytest.fixture
def broken(tmp_path):
    shutil.copy(CASE, tmp_path / "case.json")
    tensors = {n: t.clone() for n, t in load_file(CASE.with_suffix(".safetensors")).items()}
    tensors["out/preds"] *= 1.01
    save_file(tensors, tmp_path / "case.safetensors")
    return tmp_path


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_golden_folders_pass(capsys, dtype):
    folders = [str(GOLDEN / name) for name in ("galerkin", "factformer")]
    assert main(["verify", *folders, "--dtype", dtype, "--quiet"]) == 0
    out = capsys.readouterr().out
    cases = sum(len(list(Path(folder).glob("*.json"))) for folder in folders)
    assert f"all {cases} cases within tolerance" in out


def test_every_tensor_is_shown(capsys):
    assert main(["verify", str(CASE)]) == 0
    out = capsys.readouterr().out
    for name in ("out/preds", "mid/layer0", "grad/feat_extract.id.weight", "grad/in/node"):
        assert name in out


def test_a_miss_exits_with_one(broken, capsys):
    assert main(["verify", str(broken), str(CASE)]) == 1
    out = capsys.readouterr().out
    assert "MISS" in out
    assert "1 of 2 cases miss" in out


def test_json_for_standard_output_needs_no_folder(tmp_path, capsys, monkeypatch):
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and may(path, mode))
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(CASE), "--json", "-", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["passed"]


def test_json(broken, tmp_path, capsys):
    assert main(["verify", str(broken), "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)[0]
    assert report["kind"] == "burgers1d"
    assert not report["passed"]
    assert [row["name"] for row in report["rows"] if not row["passed"]] == ["out/preds"]
    assert main(["verify", str(CASE), "--json", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text())[0]["passed"]


def test_unknown_kind_is_one_line_before_anything_runs(tmp_path, capsys):
    header = json.loads(CASE.read_text()) | {"kind": "burgers3d"}
    (tmp_path / "case.json").write_text(json.dumps(header))
    shutil.copy(CASE.with_suffix(".safetensors"), tmp_path / "case.safetensors")
    assert main(["verify", str(CASE), str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "known kinds: burgers1d, darcy2d, scalers" in captured.err


def test_the_default_precision_is_restored():
    assert main(["verify", str(CASE), "--dtype", "float64"]) == 0
    assert torch.get_default_dtype() == torch.float32
