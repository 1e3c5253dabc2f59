"""Every example that a `--help` shows runs, one after the other, as a newcomer would type them."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from surform.cli.main import COMMANDS, main
from surform.hub.official.fixture import Fixture

GOLDEN = Path(__file__).parents[1] / "golden"

# In this order: data, a run on them, what uses the run. Others have tests of their own.
TOGETHER = ("generate", "fit", "validate", "test", "predict", "rollout")
ALONE = ("backtest", "convert", "verify", "list", "info", "doctor", "attention", "bench", "tune")
ELSEWHERE = ("demo", "ensemble", "export", "md", "relax", "symmetry")
QUICK = ("list", "info", "convert")


def example(command: str) -> list[str]:
    module = importlib.import_module(COMMANDS[command][0])
    text = module.EXAMPLES[command] if hasattr(module, "EXAMPLES") else module.EXAMPLE
    program, *words = shlex.split(text)
    assert program == "surform"
    assert words[0] == command
    return words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; the number of threads is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def test_no_command_is_left_out() -> None:
    assert sorted((*TOGETHER, *ALONE, *ELSEWHERE)) == sorted(COMMANDS)


@pytest.mark.slow
def test_examples_lead_from_data_to_a_rollout(folder: Path) -> None:
    for command in TOGETHER:
        assert main(example(command)) == 0, command
    made = {path.name for path in folder.iterdir()}
    assert made == {"flow.zarr", "runs", "predicted.zarr", "prediction.zarr", "report.html"}
    run = {path.name for path in (folder / "runs" / "flow").iterdir()}
    assert run >= {"report.html", "model", "validate.json", "test.json"}


@pytest.mark.parametrize(
    "command",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALONE],
)
def test_examples_run(command: str, folder: Path) -> None:
    prepare(command, folder)
    assert main(example(command)) == 0


def prepare(command: str, folder: Path) -> None:
    """What a user of the command has already: official weights, or a clone of the repository."""
    if command == "convert":
        case = GOLDEN / "galerkin" / "burgers_galerkin_ifft.json"
        torch.save(Fixture.load(case).parameters(torch.float32), folder / "official.pt")
        constructor = json.loads(case.read_text())["constructor"]
        (folder / "arguments.json").write_text(json.dumps(constructor))
    if command == "verify":
        shutil.copytree(GOLDEN / "galerkin", folder / "tests" / "golden" / "galerkin")
