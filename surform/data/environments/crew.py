"""Environments in processes of their own, watched: what is killed or hangs is begun again."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from typing import Any, Self

import numpy as np

from surform.data.environments.opening import EnvironmentSource
from surform.data.environments.seen import Facts
from surform.data.environments.worker import Fault, Moment, serve

__all__ = ["Crew", "Start"]

_OPENING = 180.0  # seconds at least that a process has to import a simulator and open it
_FAILURES = 3  # of one process in a batch, after which it is given up
_ENDING = 5.0  # seconds that a process has to end by itself


@dataclass(frozen=True)
class Start:
    """One episode: its environment, the seed of its reset, whether it is filmed."""

    source: EnvironmentSource
    seed: int
    filmed: bool = False


@dataclass
class _Course:
    """What was asked of a row, so that it can be repeated."""

    start: Start
    actions: list[np.ndarray] = field(default_factory=list)
    live: bool = True


class Crew:
    """A batch of environments, row r in process r modulo their number; use it in a `with` block.

    A process that ends, or does not answer in time, is replaced; its episodes are begun again with
    their seeds and the actions they were given, after which everything goes on as if nothing had
    been. Results do not depend on the number of processes.

    Args:
        workers: processes.
        timeout: seconds that an environment may take for a reset or a step.

    Raises:
        ValueError: in all methods: what the environment says is wrong, or a process that failed
            again and again.
    """

    def __init__(self, workers: int, timeout: float = 60.0) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}, but must be at least 1")
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout}, but must be more than 0 seconds")
        self.timeout = timeout
        self.restarts: dict[int, int] = {}  # of the rows of this batch
        self.rows: list[Facts] = []  # of this batch
        self._processes: list[_Process | None] = [None] * workers
        self._courses: dict[int, _Course] = {}
        self._failures: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def facts(self, source: EnvironmentSource) -> Facts:
        """What an environment shows and takes; it stays open as row 0."""
        self._courses = {0: _Course(Start(source, 0), live=False)}
        self._failures = {}
        return self._ask("open", {0: source})[0]

    def begin(self, starts: Sequence[Start]) -> list[Moment]:
        """Begin a batch of episodes; returns what each shows first."""
        self._courses = {row: _Course(start) for row, start in enumerate(starts)}
        self._failures, self.restarts = {}, dict.fromkeys(self._courses, 0)
        sources = {row: course.start.source for row, course in self._courses.items()}
        opened = self._ask("open", sources)
        self.rows = [opened[row] for row in self._courses]
        asked = {row: (c.start.seed, c.start.filmed) for row, c in self._courses.items()}
        found = self._ask("begin", asked)
        return [found[row] for row in self._courses]

    def step(self, actions: Mapping[int, np.ndarray]) -> dict[int, Moment]:
        """One step of each row that is named."""
        found = self._ask("step", dict(actions))
        for row, action in actions.items():
            self._courses[row].actions.append(action)
        return found

    def finish(self, row: int) -> None:
        """Forget an episode that has ended: it is not begun again."""
        self._courses[row].live = False

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            if process is not None:
                process.end()
        self._processes = [None] * len(self._processes)

    def _ask(self, command: str, rows: dict[int, Any]) -> dict[int, Any]:
        """Send each process its rows and gather all answers."""
        count = len(self._processes)
        parts = {w: {r: rows[r] for r in rows if r % count == w} for w in range(count)}
        parts = {worker: part for worker, part in parts.items() if part}
        limit = max(_OPENING, self.timeout) if command == "open" else self.timeout
        until = {}
        for worker, part in parts.items():
            self._process(worker).send(command, part)
            until[worker] = time.monotonic() + limit * len(part)
        found: dict[int, Any] = {}
        for worker, part in parts.items():

            def again(worker: int = worker, part: dict[int, Any] = part) -> Any:
                self._repeat(worker, command, part)
                return self._process(worker).ask(command, part, limit * len(part))

            allowed = limit * len(part)
            first = partial(self._process(worker).receive, until[worker], allowed)
            found |= self._answer(worker, first, again)
        return found

    def _answer(self, worker: int, first: Callable[[], Any], again: Callable[[], Any]) -> Any:
        """An answer, with as much patience as a process is worth."""
        ask = first
        while True:
            try:
                return self._checked(ask())
            except _LostError as lost:
                self._failures[worker] = self._failures.get(worker, 0) + 1
                process = self._processes[worker]
                if process is not None:
                    process.end(at_once=True)
                self._processes[worker] = None
                if self._failures[worker] >= _FAILURES:
                    raise ValueError(self._given_up(worker, str(lost))) from None
                ask = again

    def _repeat(self, worker: int, command: str, part: Mapping[int, Any]) -> None:
        """Bring the rows of a new process to where those of the old one were."""
        if command == "open":
            return
        count = len(self._processes)
        own = {r: c for r, c in self._courses.items() if r % count == worker and c.live}
        sources = {row: course.start.source for row, course in own.items()}
        allowed = max(_OPENING, self.timeout) * len(sources)
        process = self._process(worker)
        self._checked(process.ask("open", sources, allowed))
        for row, course in own.items():
            self.restarts[row] += 1
            if command == "begin" and row in part:
                continue
            start = course.start
            asked = (row, start.seed, start.filmed, course.actions)
            allowed = self.timeout * (1 + len(course.actions))
            self._checked(process.ask("repeat", asked, allowed))

    def _checked(self, answer: Any) -> Any:
        if not isinstance(answer, Fault):
            return answer
        kind = ImportError if answer.missing else ValueError
        error = kind(f"{self._where(answer.row)}: {answer.text}")
        error.add_note(answer.trace)
        raise error

    def _where(self, row: int) -> str:
        course = self._courses[row]
        if not course.live:
            return course.start.source.label
        place = f"step {len(course.actions) + 1}" if course.actions else "at its start"
        return f"{course.start.source.label}, episode of seed {course.start.seed}, {place}"

    def _given_up(self, worker: int, what: str) -> str:
        count = len(self._processes)
        rows = [r for r in self._courses if r % count == worker]
        live = [row for row in rows if self._courses[row].live] or rows
        return (
            f"{self._where(live[0])}: the process of the environment {what}, {_FAILURES} times: "
            "given up"
        )

    def _process(self, worker: int) -> _Process:
        process = self._processes[worker]
        if process is None:
            process = self._processes[worker] = _Process()
        return process


class _LostError(Exception):
    """A process that ended or hangs; its text says which."""


class _Process:
    """One spawned process and the pipe to it."""

    def __init__(self) -> None:
        # Spawned, not forked: a fork copies the locks of torch's threads but not the threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, command: str, argument: Any) -> None:
        """Ask; whether somebody hears it shows when the answer is fetched."""
        with suppress(OSError):
            self._pipe.send((command, argument))

    def receive(self, until: float, allowed: float) -> Any:
        """The answer; `_LostError` where there is none `until` then, `allowed` seconds after."""
        left = max(0.0, until - time.monotonic())
        if not wait([self._pipe, self.process.sentinel], left):
            raise _LostError(f"did not answer within {allowed:.3g} s")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self.process.join(_ENDING)
            raise _LostError(_ended(self.process.exitcode)) from None

    def ask(self, command: str, argument: Any, seconds: float) -> Any:
        """Send and receive."""
        self.send(command, argument)
        return self.receive(time.monotonic() + seconds, seconds)

    def end(self, at_once: bool = False) -> None:
        """Let it go, or kill it."""
        self._pipe.close()
        if not at_once:
            self.process.join(_ENDING)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return (
        f"ended with code {code} (a script that uses processes must guard its main part by "
        '`if __name__ == "__main__":`)'
    )
