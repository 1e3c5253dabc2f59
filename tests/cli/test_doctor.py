from __future__ import annotations

import importlib.metadata

import pytest

from surform.cli import doctor, main


def test_a_sound_installation_has_no_faults(capsys):
    assert main(["doctor", "--quick"]) == 0
    out = capsys.readouterr().out
    for text in (
        "python",
        "packages",
        "C++ compiler",
        "memory",
        "disk",
        "no faults",
    ):
        assert text in out


def test_a_package_of_several_extras_is_named_once(capsys):
    assert main(["doctor", "--quick"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("ok    packages"))
    found = [entry.split()[0] for entry in line.removeprefix("ok    packages").split(",")]
    assert len(found) == len(set(found)) > 10


def test_a_missing_package_is_a_fault_with_its_cure(monkeypatch, capsys):
    real = importlib.metadata.version

    def version(name):
        if name == "zarr":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor", "--quick"]) == 1
    assert "missing: pip install zarr" in capsys.readouterr().out


def test_no_compiler_is_a_note(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["doctor", "--quick"]) == 0
    assert "not with --model.compile true" in capsys.readouterr().out


def test_a_check_that_breaks_is_reported_and_the_others_run(monkeypatch, capsys):
    def broken():
        raise RuntimeError("no such thing\nand a long traceback")

    monkeypatch.setattr(doctor, "_memory", broken)
    assert main(["doctor", "--quick"]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: no such thing" in out
    assert "disk" in out


@pytest.mark.parametrize("check", ["_torch", "_triton"])
def test_full_checks_find_something(check):
    findings = list(getattr(doctor, check)())
    assert findings
    assert all(finding.state in ("ok", "note") for finding in findings)


@pytest.mark.slow
def test_packages_and_compiler_are_really_tried():
    assert [f.state for f in doctor._imports()] == ["ok"]
    assert [f.what for f in doctor._compile()] == ["torch.compile"]


def test_a_compiler_with_options_is_found(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "g++ -m64")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert main(["doctor", "--quick"]) == 0
    assert "/bin/g++ (for torch.compile" in capsys.readouterr().out
