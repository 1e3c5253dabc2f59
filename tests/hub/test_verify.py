from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform.hub.official.fixture import Fixture
from surform.hub.verify import _replayed, find_cases, system_of, verify_case, write_json

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
    assert "of another shape: " in report.problem
    assert "instead of (16, " in report.problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, t: t.pop("in/node"), "renamed.json lacks the input in/node"),
        (lambda h, t: t.pop("param/feat_extract.id.weight"), "1 missing: feat_extract.id.weight"),
        (
            lambda h, t: h["constructor"].pop("node_feats"),
            "constructor arguments for renamed.json lack 'node_feats'",
        ),
    ],
)
def test_what_is_missing_is_said_in_words(case, change, message):
    assert message in verify_case(Fixture.load(case(change))).problem


def test_a_mode_that_is_no_matter_is_one_only_without_parameters(case):
    assert "not 'n/a'" in verify_case(Fixture.load(case(lambda h, t: h.update(mode="n/a")))).problem


def test_unknown_kind_names_the_known_ones(case):
    fixture = Fixture.load(case(lambda h, t: h.update(kind="burgers2d")))
    with pytest.raises(ValueError, match="known kinds: burgers1d, darcy2d, scalers"):
        system_of(fixture)


def test_unknown_system_names_the_closest(case):
    fixture = Fixture.load(case(lambda h, t: h.update(system="galerkn")))
    with pytest.raises(ValueError, match="unknown system 'galerkn'; did you mean galerkin"):
        system_of(fixture)


FAULTS = [
    (lambda h, t: h.pop("constructor"), "lacks constructor"),
    (lambda h, t: h.update(constructor=[1]), "constructor must be a table"),
    (lambda h, t: h.update(rtol="2e-4 * max|out|"), "rtol must be a number, not '2e-4"),
    (lambda h, t: h.update(atol=float("inf")), "atol must be a number, not inf"),
    (lambda h, t: h.update(mode="trian"), "mode must be one of eval, train.*'trian'"),
    (lambda h, t: h.update(mode=None), "mode must be one of .* not None"),
    (lambda h, t: h.update(mode="init"), "replays the modes eval and train, not 'init'"),
    (lambda h, t: h.update(dtype="bfloat16"), "dtype must be one of float64, float32.*bfloat16"),
    (lambda h, t: h.update(dtype=None), "dtype must be one of"),
    (lambda h, t: h["constructor"].update(n_head=0), "refuses|n_head|heads|Zero"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_case_that_cannot_be_verified_is_read_and_says_why(case, change, message):
    report = verify_case(Fixture.load(case(change)))
    assert not report.passed
    assert re.search(message, report.problem), report.problem


@pytest.mark.parametrize("error", [AttributeError, IndexError])
def test_any_replay_that_breaks_is_a_problem_of_its_case(case, monkeypatch, error):
    def broken(self, dtype):
        raise error("no such thing")

    monkeypatch.setattr(Fixture, "inputs", broken)
    assert verify_case(Fixture.load(case())).problem == f"{error.__name__}: no such thing"


def test_remarks_in_the_header_are_allowed(case):
    words = {"mode": "eval (dropout off)", "dtype": "uint8 image, float64 values (not float32)"}
    assert verify_case(Fixture.load(case(lambda h, t: h.update(words)))).passed
    nothing = Fixture.load(case(lambda h, t: h.update(constructor=None, options=None)))
    assert (nothing.constructor, nothing.options, nothing.faults) == ({}, {}, ())


def test_headers_name_what_they_record(case):
    with pytest.raises(ValueError, match="not a golden fixture: it lacks kind"):
        Fixture.load(case(lambda h, t: h.pop("kind")))


def test_broken_files_are_named(case, tmp_path):
    path = case()
    path.with_suffix(".safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        Fixture.load(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        Fixture.load(path)


def test_a_partial_copy_is_a_miss(case, tmp_path):
    path = case()
    case(name="whole")
    path.with_suffix(".safetensors").unlink()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.json").write_text("[")
    reports = {p.stem: verify_case(Fixture.load(p)) for p in find_cases([tmp_path])}
    assert reports["whole"].passed
    assert not reports["renamed"].passed
    assert "renamed.safetensors is missing" in reports["renamed"].problem
    assert set(reports) == {"renamed", "whole"}


def record(path, change):
    """A case of our own model's numbers in float64."""
    fixture = Fixture.load(path)
    change(fixture.tensors)
    found = _replayed(fixture, system_of(fixture), torch.float64)
    tensors = fixture.tensors | {n: t.detach().contiguous() for n, t in found.items()}
    return dataclasses.replace(fixture, tensors=tensors)


def test_gradients_that_are_zero_by_symmetry_need_no_common_noise(case):
    key = "grad/encoder_layers.0.attn.norm_K.0.bias"

    def softmax(header, tensors):
        header["constructor"].update(attention_type="softmax")
        for name in [name for name in tensors if "norm_V" in name]:
            tensors[name.replace("norm_V", "norm_Q")] = tensors.pop(name)
        tensors[key] = tensors[key.replace("grad", "param")].clone()

    # a constant added to all keys of softmax attention changes nothing
    fixture = record(case(softmax), len)
    largest = max(t.abs().max() for n, t in fixture.tensors.items() if n.startswith("grad/"))
    assert fixture.tensors[key].abs().max() < 1e-14 * largest
    assert verify_case(fixture, torch.float32).passed
    fixture.tensors[key].fill_(7e-16 * largest)  # honest noise of another order of summation
    assert verify_case(fixture, torch.float32).passed
    fixture.tensors[key][0] += 2e-6 * largest
    missed = [row.name for row in verify_case(fixture, torch.float32).rows if not row.passed]
    assert missed == [key]


def test_a_miss_of_an_ill_conditioned_case_says_what_rounding_alone_makes():
    def far_away(tensors):  # positions of 100 units, at which angles change 64 times as fast
        tensors["in/pos_x"] += 100 + torch.rand(tensors["in/pos_x"].shape, dtype=torch.float64)

    torch.manual_seed(0)
    path = GOLDEN.parent / "factformer" / "kolmogorov2d_latent3_rowinst.json"
    report = verify_case(record(path, far_away), torch.float32)
    missed = [row for row in report.rows if not row.passed]
    assert missed
    assert all(row.error > 1e-4 and "rounding" in row.remark for row in missed)
    assert all(row.error <= 1e-4 for row in report.rows if row.passed)


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
