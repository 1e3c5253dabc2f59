"""Commands whose disk is full at some moment, and which go on once there is room.

The folder of a command is a small file system in memory of its own (tmpfs), of which all but a
little is taken by a file; where nobody may mount one, the process may not write files above a size
(RLIMIT_FSIZE), which fails in the same places with "File too large". Room is tried from nothing to
as much as an undisturbed run needs.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.forked import Ended, run, undisturbed
from benchmarks.faults.states import left_over

__all__ = ["Full", "fill", "mountable"]

_SIZE = 64 << 20  # bytes of the file system
_PAGE = 4096  # what a file takes at least


@dataclass
class Full:
    """Counts of one command.

    Attributes:
        refused: it ended in one sentence, and went on when there was room.
        enough: the room was enough.
        findings: (bytes of room, what was wrong).
    """

    name: str
    tries: int = 0
    refused: int = 0
    enough: int = 0
    seconds: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)


def mountable(root: Path) -> bool:
    """Whether this user may mount a file system in memory."""
    if shutil.which("mount") is None:
        return False
    try:
        with _memory(root / "mount"):
            return True
    except subprocess.CalledProcessError:
        return False


def fill(name: str, root: Path, times: int, mounts: bool) -> Full:
    """Run a command in `times` disks of growing room, each from nothing to enough.

    Args:
        mounts: use file systems in memory, not the limit on the size of files.
    """
    case, found, began = CASES[name], Full(name), time.monotonic()
    whole = undisturbed(case.line, root / f"{name}-whole")
    folder = root / f"{name}-full"
    for number in range(times):
        with _memory(folder) if mounts else _plain(folder):
            room = _room(whole, number / max(times - 1, 1), mounts)
            wrong, refused = _tried(case, folder, whole, room, mounts)
        found.tries += 1
        found.refused += refused and not wrong
        found.enough += not refused and not wrong
        if wrong:
            found.findings.append((room, wrong))
    found.seconds = time.monotonic() - began
    return found


def _tried(case: Case, folder: Path, whole: Path, room: int, mounts: bool) -> tuple[str, bool]:
    """What is wrong, and whether the command was refused."""
    ended = _filled(case, folder, room) if mounts else run(case.line, folder, _limit(room))
    refused = ended.code != 0
    if refused:
        wrong = _wrong_refusal(case, ended) or case.damaged(folder, whole)
        if wrong:
            return wrong, refused
        ended = run(case.line_again(folder), folder)
        if ended.code:
            return f"with room again, it fails: {ended.last_line}", refused
    different = case.difference(folder, whole)
    left = [] if different else left_over(folder, whole)
    return different or (f"left behind: {', '.join(left)}" if left else ""), refused


def _wrong_refusal(case: Case, ended: Ended) -> str:
    wrong = ended.fault(case.command)
    if not wrong and "no space left" not in ended.last_line:
        return f"a sentence that does not say that the disk is full: {ended.last_line}"
    return wrong


def _filled(case: Case, folder: Path, room: int) -> Ended:
    """Run on a disk of which only `room` bytes are free, and free the rest after it."""
    rest = folder / "rest"
    with rest.open("wb") as file:
        free = shutil.disk_usage(folder).free
        left = max(free - room, 0) // _PAGE * _PAGE
        while left:
            left -= file.write(bytes(min(left, 1 << 20)))
    ended = run(case.line, folder)
    rest.unlink()
    return ended


def _limit(room: int) -> Callable[[], None]:
    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    return before


def _room(whole: Path, share: float, mounts: bool) -> int:
    """A share of four times the bytes of all files; of a limit on the size of each, of the largest.

    Four times: what is replaced, and samples that a file is made of, stand beside it for a moment.
    """
    sizes = [file.stat().st_size for file in whole.rglob("*") if file.is_file()]
    pages = [-(-size // _PAGE) * _PAGE for size in sizes]
    return int(share * (4 * sum(pages) if mounts else 1.05 * max(sizes)))


@contextmanager
def _memory(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        folder.rmdir()


@contextmanager
def _plain(folder: Path) -> Iterator[None]:
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder)
