from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import surform
from surform.cli import main
from surform.hub.official.fixture import Fixture

CASE = Path(__file__).parents[1] / "golden" / "galerkin" / "burgers_galerkin_ifft.json"


@pytest.fixture
def official(tmp_path):
    torch.save(Fixture.load(CASE).parameters(torch.float32), tmp_path / "official.pt")
    constructor = json.loads(CASE.read_text())["constructor"]
    (tmp_path / "arguments.json").write_text(json.dumps(constructor))
    return tmp_path


def convert(folder, *more, constructor="arguments.json"):
    return main(
        [
            "convert",
            "--system",
            "galerkin",
            str(folder / "official.pt"),
            str(folder / "out"),
            "--constructor",
            str(folder / constructor),
            *more,
        ]
    )


def test_a_checkpoint_becomes_a_model_that_loads(official, capsys):
    assert convert(official) == 0
    assert "0 missing, 0 unknown" in capsys.readouterr().out
    model = surform.load_model(official / "out")
    assert model.net.arguments["dim"] == 12
    assert main(["info", str(official / "out")]) == 0
    assert "no normalisation statistics" in " ".join(capsys.readouterr().out.split())


def test_the_accounting_as_json(official, capsys):
    assert convert(official, "--json") == 0
    accounting = json.loads(capsys.readouterr().out)
    assert len(accounting["used"]) == len(Fixture.load(CASE).named("param"))
    assert accounting["missing"] == accounting["unknown"] == []


def test_a_fixtures_header_serves_as_arguments(official):
    (official / "arguments.json").write_text(CASE.read_text())
    assert convert(official) == 0


@pytest.mark.fault
def test_keys_that_do_not_fit_are_all_shown_and_nothing_is_written(official, capsys):
    state = torch.load(official / "official.pt", weights_only=True)
    first = next(iter(state))
    state["renamed"] = state.pop(first)
    torch.save(state, official / "official.pt")
    assert convert(official) == 2
    error = capsys.readouterr().err
    assert "renamed" in error
    assert first in error
    assert not (official / "out").exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not valid JSON"), ("[1]", "must be a JSON object"), ("{}", "official.pt")],
)
def test_bad_arguments_are_one_line(official, capsys, text, message):
    (official / "arguments.json").write_text(text)
    assert convert(official) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("surform convert: ")
    assert message in error


@pytest.mark.fault
def test_misspelt_system(official, capsys):
    line = ["convert", "--system", "galerkn", str(official / "official.pt"), str(official / "out")]
    assert main(line) == 2
    assert "unknown official system 'galerkn'" in capsys.readouterr().err
