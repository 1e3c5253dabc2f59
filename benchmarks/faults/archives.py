"""Hostile models, archives, pickles, recipes and names are refused; nothing is written or run."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.forked import ask, start
from benchmarks.faults.hostile import HOSTILE, Maker
from benchmarks.faults.samples import INPUTS
from benchmarks.faults.states import tree

__all__ = ["Refusals", "offer"]

_LIMIT = 60.0  # seconds of the wall, then it hangs


@dataclass
class Refusals:
    """Counts of one kind of file; findings are (which, what was wrong)."""

    name: str
    files: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[tuple[str, str]] = field(default_factory=list)
    sentences: dict[str, str] = field(default_factory=dict)


def offer(kind: str, root: Path) -> Refusals:
    """Give every hostile file of a kind to the command that reads such files."""
    found, began = Refusals(kind), time.monotonic()
    for number, (name, make) in enumerate(HOSTILE[kind].items()):
        wrong, found.sentences[name] = _offered(make, root / f"{kind}-{number}", root / INPUTS)
        found.files += 1
        found.refused += not wrong
        if wrong:
            found.findings.append((name, wrong))
    found.seconds = time.monotonic() - began
    return found


def _offered(make: Maker, outer: Path, inputs: Path) -> tuple[str, str]:
    """What is wrong, and what was said.

    The command runs two folders down, so that what leaves its own is seen.
    """
    folder = outer / "a" / "b"
    folder.mkdir(parents=True)
    line = ask(make, folder, inputs)
    before = tree(outer)

    def prepare() -> None:
        os.environ["TMPDIR"] = str(outer)
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_CACHE"] = os.environ["HF_HOME"] = str(outer / "a")

    ended = start(line, folder, prepare).wait(_LIMIT)
    after = tree(outer)
    if after != before:
        changed = sorted({*after} ^ {*before} | {n for n in before if after.get(n) != before[n]})
        return f"changed {', '.join(changed)}", ended.last_line
    return ended.fault(line[0]), ended.last_line
