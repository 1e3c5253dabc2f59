"""Two processes that write the same output at the same time.

One must win, or both must make a whole result; the other gets one sentence. They start together or
up to one usual run apart.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.forked import Ended, start, undisturbed
from benchmarks.faults.states import left_over

__all__ = ["Pairs", "write_twice"]


@dataclass
class Pairs:
    """Counts of one command.

    Attributes:
        both: pairs of which both ended well.
        one: pairs of which one was told that the other writes.
        findings: (seed, what was wrong).
    """

    name: str
    pairs: int = 0
    both: int = 0
    one: int = 0
    seconds: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)


def write_twice(name: str, root: Path, seeds: range) -> Pairs:
    """Start a command twice in one folder, once for each seed."""
    case, found, began = CASES[name], Pairs(name), time.monotonic()
    whole = undisturbed(case.line, root / f"{name}-whole")
    for seed in seeds:
        folder = root / f"{name}-{seed}"
        folder.mkdir()
        ends = _pair(case, folder, Random(f"writers {name}:{seed}").random())
        found.pairs += 1
        found.both += all(end.code == 0 for end in ends)
        found.one += [end.code == 0 for end in ends].count(True) == 1
        wrong = _wrong(case, folder, whole, ends)
        if wrong:
            found.findings.append((seed, wrong))
        shutil.rmtree(folder)
    found.seconds = time.monotonic() - began
    return found


def _pair(case: Case, folder: Path, share: float) -> list[Ended]:
    """Two runs; the second starts at once for half of the shares, else once the first writes."""
    first = start(case.line, folder)
    while share > 0.5 and first.ended() is None and not any(folder.iterdir()):
        time.sleep(0.001)
    second = start(case.line, folder)
    return [first.wait(), second.wait()]


def _wrong(case: Case, folder: Path, whole: Path, ends: list[Ended]) -> str:
    for end in ends:
        fault = "" if end.code == 0 else end.fault(case.command)
        if fault:
            return fault
    if all(end.code for end in ends):
        return f"neither wrote: {ends[0].last_line}; {ends[1].last_line}"
    different = case.difference(folder, whole)
    left = [] if different else left_over(folder, whole)
    return different or (f"left behind: {', '.join(left)}" if left else "")
