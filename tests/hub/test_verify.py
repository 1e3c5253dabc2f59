from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, system_of, verify_case, write_json

GOLDEN = Path(__file__).parents[1] / "golden" / "galerkin"
CASE = GOLDEN / "burgers_galerkin_ifft.json"


@pytest.fixture
def case(tmp_path):
    """A copy of a golden case under another name: `change(header, tensors)` edits it."""

    def copy(change=None, name="renamed"):
        header = json.loads(CASE.read_text())
        tensors = {n: t.clone() for n, t in load_file(CASE.with_suffix(".safetensors")).items()}
        if change:
            change(header, tensors)
        (tmp_path / f"{name}.json").write_text(json.dumps(header))
        save_file(tensors, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.json"

    return copy


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.float32])
def test_a_case_passes_under_any_name(case, dtype):
    report = verify_case(Fixture.load(case()), dtype)
    assert report.passed, report
    assert {row.name.partition("/")[0] for row in report.rows} == {"out", "mid", "grad"}
    assert report.dtype == ("float32" if dtype == torch.float32 else "float64")
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    "key", ["out/preds", "mid/layer0", "grad/feat_extract.id.weight", "grad/in/node"]
)
@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 1e-8), (torch.float32, 2e-4)])
def test_a_small_error_anywhere_is_a_miss(case, key, dtype, size):
    def change(header, tensors):
        flat = tensors[key].view(-1)
        flat[flat.abs().argmax()] *= 1 + size

    report = verify_case(Fixture.load(case(change)), dtype)
    assert not report.passed
    assert [row.name for row in report.rows if not row.passed] == [key]
    assert report.worst.error == pytest.approx(size, rel=0.1)


def test_a_tensor_that_the_replay_does_not_give_is_a_miss(case):
    report = verify_case(
        Fixture.load(case(lambda h, t: t.update({"out/other": torch.ones(2).double()})))
    )
    assert report.worst.name == "out/other"
    assert report.worst.remark == "the replay gave no such tensor"
    rows = {row["name"]: row for row in json.loads(write_json([report]))[0]["rows"]}
    assert rows["out/other"]["error"] is None
    assert rows["out/preds"]["passed"]


def test_nan_is_a_miss(case):
    report = verify_case(Fixture.load(case(lambda h, t: t["out/preds"].fill_(float("nan")))))
    assert not report.passed


def test_a_replay_that_breaks_is_a_problem_not_a_crash(case):
    report = verify_case(Fixture.load(case(lambda h, t: h["constructor"].update(n_hidden=16))))
    assert not report.passed
    assert "size mismatch" in report.problem


def test_unknown_kind_names_the_known_ones(case):
    fixture = Fixture.load(case(lambda h, t: h.update(kind="burgers2d")))
    with pytest.raises(ValueError, match="known kinds: burgers1d, darcy2d, scalers"):
        system_of(fixture)


def test_unknown_system_names_the_closest(case):
    fixture = Fixture.load(case(lambda h, t: h.update(system="galerkn")))
    with pytest.raises(ValueError, match="unknown system 'galerkn'; did you mean galerkin"):
        system_of(fixture)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, t: h.pop("constructor"), "lacks constructor"),
        (lambda h, t: h.update(rtol="tight"), "rtol"),
    ],
)
def test_headers_are_checked(case, change, message):
    with pytest.raises(ValueError, match=message):
        Fixture.load(case(change))


def test_broken_files_are_named(case, tmp_path):
    path = case()
    path.with_suffix(".safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        Fixture.load(path)
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"renamed\.safetensors is missing"):
        Fixture.load(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        Fixture.load(path)


def test_folders_cases_and_their_mixture_are_found(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for suffix in (".json", ".safetensors"):
        shutil.copy(CASE.with_suffix(suffix), folder / f"one{suffix}")
    (tmp_path / "config.json").write_text("{}")
    assert find_cases([tmp_path]) == [folder / "one.json"]
    assert find_cases([folder / "one.safetensors", folder / "one", tmp_path]) == [
        folder / "one.json"
    ]
    with pytest.raises(FileNotFoundError, match="no golden fixture or folder"):
        find_cases([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no golden fixture"):
        find_cases([tmp_path / "empty"])


def test_inputs_are_fresh_leaves():
    fixture = Fixture.load(CASE)
    one, two = fixture.inputs(torch.float64), fixture.inputs(torch.float64)
    assert set(one) == {"node", "pos"}
    assert one["node"].requires_grad
    assert one["node"].data_ptr() != two["node"].data_ptr() != fixture.tensors["in/node"].data_ptr()
