"""Runs of a small recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from surform.cli.main import main
from tests.cli.fit_runs import RECIPE, Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "toy.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def call(command: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
        code = main([command, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def trained(run: Run, tmp_path: Path) -> Path:
    code, _, error = run("fit", "-c", "toy.yaml", "--out", "r", "--no_report")
    assert code == 0, error
    return tmp_path / "r"
