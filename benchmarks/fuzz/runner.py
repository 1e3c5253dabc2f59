"""Many inputs of one format, read by a process that may crash or hang."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.fuzz.formats import Format
from benchmarks.fuzz.verdict import kind_of
from benchmarks.fuzz.worker import READ, REFUSED, work

__all__ = ["Count", "fuzz"]

_START = 120  # seconds in which a process has its sample


@dataclass
class Count:
    """What became of the inputs; findings are (seed, what)."""

    name: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, seed: int, verdict: str) -> None:
        """Count one verdict."""
        self.inputs += 1
        if verdict == READ:
            self.read += 1
        elif verdict == REFUSED:
            self.refused += 1
        else:
            self.findings.append((seed, verdict))

    def kinds(self) -> dict[str, tuple[int, int, str]]:
        """Kind of finding -> how many, the first seed and its text."""
        found: dict[str, tuple[int, int, str]] = {}
        for seed, text in self.findings:
            count, first, shown = found.get(kind_of(text), (0, seed, text))
            found[kind_of(text)] = (count + 1, first, shown)
        return found


def fuzz(name: str, form: Format, seeds: range, limit: float = 10.0, trace: bool = False) -> Count:
    """Read the inputs of `seeds`; a process that ends or hangs is replaced by another.

    Args:
        limit: seconds for each input.
        trace: let tracebacks and other output through.

    Raises:
        RuntimeError: the sound sample cannot be made.
    """
    count, left = Count(name), seeds
    while left:
        with tempfile.TemporaryDirectory(prefix="surform-fuzz-") as place:
            for seed, verdict in zip(
                left, _verdicts(name, form, left, place, limit, trace), strict=False
            ):
                count.add(seed, verdict)
        left = seeds[count.inputs :]
    return count


def _verdicts(
    name: str, form: Format, seeds: range, place: str, limit: float, trace: bool
) -> Iterator[str]:
    """Verdicts of one process, the last of which may be its end."""
    context = multiprocessing.get_context("fork")  # what was imported need not be again
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, name, form, seeds, place, trace)
    process = context.Process(target=work, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START) or _received(ours) != "ready":
            raise RuntimeError(f"the sample of {name} cannot be made: see --one {name} 0")
        for _ in seeds:
            if not ours.poll(limit):
                yield f"a hang, longer than {limit:g} s"
                return
            verdict = _received(ours)
            if verdict is None:
                process.join()
                yield f"a crash, {_how(process.exitcode)}"
                return
            yield verdict
    finally:
        process.kill()
        process.join()
        ours.close()


def _received(pipe: object) -> str | None:
    try:
        return pipe.recv()  # type: ignore[attr-defined]
    except EOFError:
        return None


def _how(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
