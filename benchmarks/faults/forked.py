"""The command line in processes that start at once: forks of one that has imported everything.

Python, torch and the rest take seconds to start, which would be most of the time of a small case
and most of the moments at which it can be killed. A child is therefore a fork of this process that
calls the real `surform.cli.main.main` with its arguments, in a folder and a process group of its
own. This process never opens data itself: threads of Zarr or torch would not survive the fork.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Child", "Ended", "ask", "import_what", "run", "start", "undisturbed"]

_TRACEBACK = "Traceback (most recent call last)"
_CRASH = 70  # exit code of a child whose error nobody caught


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, negative for a signal, and all that it said."""

    code: int
    said: str

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        lines = [line for line in self.said.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def fault(self, command: str) -> str:
        """What is wrong with a refusal; "" where it is one clear sentence and an exit code."""
        if _TRACEBACK in self.said:
            return f"a traceback: {self.last_line}"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}: {self.last_line}"
        if self.code == 0:
            return "exit code 0"
        if not self.last_line.startswith(f"surform {command}"):
            return f"no sentence of its own at the end: {self.last_line!r}"
        return ""


@dataclass
class Child:
    """A command that runs."""

    process: int
    output: Path
    _clock: int = field(init=False)
    _ended: Ended | None = None

    def __post_init__(self) -> None:
        self._clock = (~self.process << 3) | 2  # of clock_getcpuclockid

    def seconds(self) -> float:
        """Processor seconds used up to now."""
        with suppress(OSError):
            return time.clock_gettime(self._clock)
        return 0.0

    def ended(self) -> Ended | None:
        """How it ended; None while it runs."""
        if self._ended is None:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                said = self.output.read_text(errors="replace")
                self.output.unlink()
                self._ended = Ended(os.waitstatus_to_exitcode(status), said)
        return self._ended

    def wait(self, limit: float = 300.0) -> Ended:
        """Its end; killed after `limit` seconds of the wall, which counts as an end by SIGKILL."""
        until = time.monotonic() + limit
        while (ended := self.ended()) is None:
            if time.monotonic() > until:
                self.kill()
            time.sleep(0.002)
        return ended

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)


def start(line: Sequence[str], folder: Path, before: Callable[[], None] | None = None) -> Child:
    """Begin `surform LINE` in `folder`; `before` is called in the child, ahead of the command."""
    place, name = tempfile.mkstemp(prefix="surform-faults-")
    process = _fork(lambda: _command(list(line), folder, place, before))
    os.close(place)
    with suppress(OSError):  # both sides do it: whoever comes first
        os.setpgid(process, process)
    return Child(process, Path(name))


def run(line: Sequence[str], folder: Path, before: Callable[[], None] | None = None) -> Ended:
    """`surform LINE` in `folder`, from beginning to end."""
    return start(line, folder, before).wait()


def ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """What a function answers in a process of its own, which may open data.

    Raises:
        RuntimeError: it raised, with what it said.
    """
    ours, theirs = os.pipe()
    process = _fork(lambda: _answer(theirs, question, arguments))
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        content = stream.read()
    os.waitpid(process, 0)
    error, answer = pickle.loads(content) if content else ("it was ended", None)
    if error:
        raise RuntimeError(error)
    return answer


def import_what(line: Sequence[str], folder: Path) -> None:
    """Import here what a command imports when it runs in a new folder; later children need not."""
    folder.mkdir()
    for name in ask(_modules_after, line, folder):
        if name not in sys.modules:
            with suppress(Exception):  # modules that were made, not imported
                importlib.import_module(name)


def _modules_after(line: Sequence[str], folder: Path) -> list[str]:
    from surform.cli.main import main

    os.chdir(folder)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    main(list(line))
    return [name for name in sys.modules if name != "__main__"]


def _fork(body: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = _CRASH
    try:
        code = body()
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _command(line: list[str], folder: Path, output: int, before: Callable[[], None] | None) -> int:
    from surform.cli.main import main

    with suppress(OSError):
        os.setpgid(0, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    if before is not None:
        before()
    return main(line)


def _answer(pipe: int, question: Callable[..., Any], arguments: Sequence[Any]) -> int:
    try:
        found = ("", question(*arguments))
    except BaseException as error:
        found = (f"{type(error).__name__}: {error}", None)
    with os.fdopen(pipe, "wb") as stream:
        stream.write(pickle.dumps(found))
    return 0


def undisturbed(line: Sequence[str], folder: Path) -> Path:
    """The folder after the command has run in it alone, its modules imported beforehand.

    Raises:
        RuntimeError: the command fails.
    """
    import_what(line, folder.with_name(f"{folder.name}-first"))
    folder.mkdir()
    ended = run(line, folder)
    if ended.code:
        raise RuntimeError(f"the undisturbed command fails: {ended.last_line}")
    return folder
