"""The commands of `benchmarks.faults`: what they take for a fault, and that they find one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.forked import Ended
from benchmarks.faults.states import left_over, tree

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (2, "surform fit: no space left to write run", ""),
        (2, "10 %\rsurform fit: no space left", ""),
        (0, "wrote run", "exit code 0"),
        (
            1,
            "Traceback (most recent call last):\n  ...\nKeyError: 'a'",
            "a traceback: KeyError: 'a'",
        ),
        (2, "", "no sentence of its own at the end: ''"),
        (2, "surform fit: said\nand more", "no sentence of its own at the end: 'and more'"),
        (-signal.SIGSEGV, "", "ended by SIGSEGV: "),
    ],
)
def test_what_is_a_clear_refusal(code: int, said: str, fault: str) -> None:
    assert Ended(code, said).fault("fit") == fault


def test_what_is_left_over_is_named_once(tmp_path: Path) -> None:
    for name in ("whole/a/b", "found/a/b", "found/a.partial-7/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert left_over(tmp_path / "found", tmp_path / "whole") == ["a.partial-7"]
    assert set(tree(tmp_path / "found")) == {"a/b", "a.partial-7/b"}


def test_a_kill_comes_just_before_its_change(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from benchmarks.faults.events import kill_at\n"
        "os.setpgid(0, 0)\n"
        "os.chdir(sys.argv[1])\n"
        "kill_at(Path(sys.argv[1]), 2)()\n"
        "Path('/dev/null').write_text('elsewhere')\n"
        "Path('first').write_text('1')\n"
        "os.rename('first', 'second')\n"
        "os.mkdir('third')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["second"]


@pytest.mark.slow
def test_hostile_archives_are_refused_by_one_command() -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "archives", "--only", "tar"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ["tar", "8", "8", "0"]
