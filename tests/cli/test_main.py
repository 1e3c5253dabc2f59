"""The front: quick, without torch, with one-line errors and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from surform.cli.main import COMMANDS, main
from surform.cli.parser import run_first


def test_help_needs_neither_torch_nor_lightning() -> None:
    check = (
        "import sys; from surform.cli.main import main; code = main(['--help']); "
        "heavy = {'torch', 'lightning', 'jsonargparse', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    best = 10.0
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
        best = min(best, time.perf_counter() - begun)
    assert best < 2.0  # 0.1 s on a quiet machine


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "example" in shown
    assert f"surform {command}" in shown


def test_no_command_shows_the_overview_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: surform COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("surform 0.")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
@pytest.mark.parametrize("line", [[], ["--help"], ["list"]])
def test_a_reader_that_has_gone_is_no_error(line: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = f"import sys; from surform.cli.main import main; sys.exit(main({line}))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fault
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize(("line", "name"), [([], "surform"), (["--version"], "surform --version")])
def test_an_output_that_takes_nothing_is_one_line(line: list[str], name: str) -> None:
    code = f"import sys; from surform.cli.main import main; sys.exit(main({line}))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == f"{name}: [Errno 28] No space left on device\n"


def test_a_closed_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of >&-
    assert main(["--version"]) == 0


def test_misspelt_names_are_refused_before_torch_is_imported() -> None:
    code = (
        "import sys; from surform.cli.main import main\n"
        "assert main(['fit', '-c', 'operators/quickstart', '--modle.net', 'x']) == 2\n"
        "assert main(['test', '-c', 'operators/quikstart']) == 2\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unknown option --modle.net: did you mean --model" in done.stderr
    assert "did you mean operators/quickstart" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["fti"], "unknown command 'fti': did you mean fit?"),
        (["list", "--modls"], "unknown option '--modls'"),
        (["fit", "--config"], "expected one argument"),
    ],
)
def test_errors_are_one_line_and_exit_code_two(
    line: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_run_may_stand_first() -> None:
    assert run_first(["runs/a", "--out", "b"]) == ["--ckpt_path", "runs/a", "--out", "b"]
    assert run_first(["--out", "b", "runs/a"]) == ["--out", "b", "runs/a"]


@pytest.mark.fault
@pytest.mark.parametrize(
    "line", [["a", "--ckpt_path=b"], ["a", "--ckpt_path", "b"], ["", "--out", "b"], []]
)
def test_a_run_that_is_named_twice_or_not_at_all_is_left_to_be_refused(line: list[str]) -> None:
    assert run_first(line) == line


def test_traceback_shows_the_whole_error() -> None:
    with pytest.raises(ValueError, match="unknown command"):
        main(["fti", "--traceback"])


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    import surform.cli.fit as fit

    def broken(command: str, argv: list[str]) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(fit, "run_raw", broken)
    with pytest.raises(RuntimeError):
        main(["fit"])


def test_interrupting_gives_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    import surform.cli.fit as fit

    def stopped(command: str, argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "run_raw", stopped)
    assert main(["fit"]) == 130


def test_too_little_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(*args: object) -> int:
        raise MemoryError("Unable to allocate 745 GiB")

    monkeypatch.setattr("surform.cli.list.run", greedy)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == (
        "surform list: Unable to allocate 745 GiB: not enough memory for what is asked; ask for "
        "less, or write to a .zarr\n"
    )
