from __future__ import annotations

import json
import subprocess
import sys

import pytest

from surform.cli import main
from surform.cli.catalog import SECTIONS, catalog

HEAVY = {"torch", "lightning", "xarray", "h5py", "matplotlib", "huggingface_hub"}


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_section_is_listed(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        section for section in SECTIONS if catalog()[section]
    ]
    assert any(line.startswith("  galerkin1d ") and "Maps functions" in line for line in lines)
    assert not any("…" in line for line in lines)  # whoever reads a pipe wants it all


def test_lines_end_where_the_terminal_does(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["list", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 70
    assert any(line.endswith("…") for line in lines)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*former2d", {"factformer2d"}),
        ("galerkin", {"galerkin1d", "galerkin2d"}),
        ("GALERKIN1*", {"galerkin1d"}),
    ],
)
def test_patterns_select_models(capsys, pattern, names):
    assert main(["list", pattern, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["models"]) == names


def test_a_section_can_be_asked_for(capsys):
    assert main(["list", "solvers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"solvers"}
    assert "kolmogorov" in found["solvers"]


def test_nothing_found_is_an_error(capsys):
    assert main(["list", "zzz"]) == 2
    assert "nothing is called 'zzz'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [["list"], ["info", "galerkin1d"], ["info", "kolmogorov"], ["doctor", "--quick"]]
)
def test_nothing_heavy_is_imported(line):
    code = (
        f"import sys; from surform.cli import main; main({line}); "
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not HEAVY & set(result.stderr.split())


def test_listing_is_quick():
    code = "import time; from surform.cli import main; main(['list']); print(time.process_time())"
    # Processor time of the best of three: other work on the machine does not count.
    assert min(float(python(code).split()[-1]) for _ in range(3)) < 0.3


def test_third_party_entries_appear(monkeypatch, capsys):
    monkeypatch.setattr("surform.registry.names", lambda kind: {"mine": "absent_package.net:Net"})
    assert main(["list", "mine"]) == 0
    assert "mine" in capsys.readouterr().out
