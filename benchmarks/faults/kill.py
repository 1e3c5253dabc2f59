"""Commands that are killed at random moments, and then started again.

Each command runs as a fork of a process that has imported everything (`forked`): the child calls
the real command line. Half of the kills come by the clock, after a random number of processor
seconds, nearly always between the first change of a file and the usual end; the other half just
before a random one of the changes to files that the command makes. SIGKILL goes to the process
group. What has ended before it is killed does not count and is tried again.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.events import kill_at, record
from benchmarks.faults.forked import Ended, import_what, run, start
from benchmarks.faults.states import left_over, tree

__all__ = ["Kills", "kill_often"]

_BEFORE_WRITING = 0.1  # share of the kills by the clock that come before the first change


@dataclass
class Kills:
    """Counts of one command.

    Attributes:
        begun: kills that found something written already.
        findings: (seed, what was wrong).
    """

    name: str
    kills: int = 0
    begun: int = 0
    seconds: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Usual:
    """An undisturbed run: its folder, when it changes files, how long it takes (processor s)."""

    folder: Path
    earlier: Path | None
    changes: list[float]
    seconds: float


def kill_often(name: str, root: Path, seeds: range) -> Kills:
    """Kill and repeat a command once for each seed, in folders below `root`.

    Raises:
        RuntimeError: the undisturbed run fails.
    """
    case, found, began = CASES[name], Kills(name), time.monotonic()
    usual = _undisturbed(case, name, root)
    for seed in seeds:
        draw, folder = Random(f"kill {name}:{seed}"), root / f"{name}-{seed}"
        earlier = usual.earlier if draw.random() < 0.5 else None
        while True:
            _prepare(folder, earlier)
            before = tree(folder)
            if _killed(case, folder, usual, draw).code < 0:
                break
        found.kills += 1
        found.begun += tree(folder) != before
        wrong = _wrong(case, folder, usual, earlier)
        if wrong:
            found.findings.append((seed, wrong))
        shutil.rmtree(folder)
    found.seconds = time.monotonic() - began
    return found


def _undisturbed(case: Case, name: str, root: Path) -> _Usual:
    earlier = None
    if case.earlier is not None:
        earlier = root / f"{name}-earlier"
        earlier.mkdir()
        _must(run(case.earlier, earlier))
    folder, notes = root / f"{name}-whole", root / f"{name}.json"
    import_what(case.line, root / f"{name}-first")
    folder.mkdir()
    begun = start(case.line, folder, record(folder, notes))
    seconds = 0.0
    while begun.ended() is None:
        seconds = max(seconds, begun.seconds())
        time.sleep(0.002)
    _must(begun.wait())
    return _Usual(folder, earlier, json.loads(notes.read_text()), seconds)


def _must(ended: Ended) -> None:
    if ended.code:
        raise RuntimeError(f"the undisturbed command fails: {ended.last_line}")


def _prepare(folder: Path, earlier: Path | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if earlier is None:
        folder.mkdir()
    else:
        shutil.copytree(earlier, folder)


def _killed(case: Case, folder: Path, usual: _Usual, draw: Random) -> Ended:
    if draw.random() < 0.5:
        return run(case.line, folder, kill_at(folder, draw.randrange(len(usual.changes))))
    first = usual.changes[0]
    early = draw.random() < _BEFORE_WRITING
    moment = draw.uniform(0, first) if early else draw.uniform(first, usual.seconds)
    child = start(case.line, folder)
    while child.ended() is None and child.seconds() < moment:
        time.sleep(0.001)
    child.kill()
    return child.wait()


def _wrong(case: Case, folder: Path, usual: _Usual, earlier: Path | None) -> str:
    """What is wrong after the kill, or after the command was started again."""
    damage = case.damaged(folder, usual.folder, earlier)
    if damage:
        return f"after the kill: {damage}"
    ended = run(case.line_again(folder), folder)
    if ended.code:
        return f"started again, it fails: {ended.last_line}"
    different = case.difference(folder, usual.folder)
    left = left_over(folder, usual.folder)
    if left and not different:
        different = f"left behind: {', '.join(left)}"
    return f"started again: {different}" if different else ""
