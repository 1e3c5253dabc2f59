"""Folders that may be read and not written: outputs, data, the home and the cache.

Permissions do not bind root, so children run as another user (65534, "nobody" by custom). What only
reads must work; what writes must end in one sentence.
"""

from __future__ import annotations

import encodings
import importlib
import os
import pkgutil
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.forked import Ended, ask, import_what, run
from benchmarks.fuzz.formats import find, names

__all__ = ["Locked", "all_formats", "forbid", "is_root"]

_NOBODY = 65534
_PLACES = ("output", "data and home", "cache")


@dataclass
class Locked:
    """Counts of one kind of folder; findings are (command or format, what was wrong)."""

    name: str
    tries: int = 0
    worked: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, refused: bool, wrong: str) -> None:
        """Count one try."""
        self.tries += 1
        self.refused += refused and not wrong
        self.worked += not refused and not wrong
        if wrong:
            self.findings.append((what, wrong))


def forbid(root: Path, commands: list[str], formats: list[str]) -> list[Locked]:
    """Every command in each kind of folder, and every format read from a folder of root's.

    Raises:
        RuntimeError: an undisturbed command fails.
    """
    root.chmod(0o755)
    found = []
    for place in _PLACES:
        counts, began = Locked(place), time.monotonic()
        for name in commands:
            counts.add(name, *_command(CASES[name], name, root, place))
        counts.seconds = time.monotonic() - began
        found.append(counts)
    _import_encodings()
    counts, began = Locked("data, each format"), time.monotonic()
    for name in formats:
        wrong = _format(name, root)
        counts.add(name, False, wrong)
    counts.seconds = time.monotonic() - began
    return [*found, counts]


def all_formats() -> list[str]:
    """The formats of `benchmarks.fuzz` that this installation reads."""
    return [name for name in names() if not find(name).lacks()]


def _command(case: Case, name: str, root: Path, place: str) -> tuple[bool, str]:
    """Whether a command was refused, and what is wrong."""
    whole, folder = root / f"{name}-whole", root / f"{name}-{place.replace(' ', '-')}"
    if not whole.exists():
        import_what(case.line, root / f"{name}-first")
        whole.mkdir()
        ended = run(case.line, whole)
        if ended.code:
            raise RuntimeError(f"the undisturbed command fails: {ended.last_line}")
    folder.mkdir()
    cache = root / "cache"
    cache.mkdir(exist_ok=True)
    if place != "output":
        os.chown(folder, _NOBODY, _NOBODY)
    ended = run(case.line, folder, _nobody(root, cache if place == "cache" else None))
    if place == "output":
        wrong = ended.fault(case.command)
        left = sorted(path.name for path in folder.iterdir())
        return True, wrong or (f"wrote {', '.join(left)}" if left else "")
    wrong = _failure(ended) or case.difference(folder, whole)
    shutil.rmtree(folder)
    return False, wrong


def _failure(ended: Ended) -> str:
    return f"it fails: {ended.last_line}" if ended.code else ""


def _nobody(home: Path, cache: Path | None) -> Callable[[], None]:
    """Become a user who owns nothing, at home in a folder of root's."""

    def before() -> None:
        os.environ["HOME"] = str(home)
        os.environ.pop("XDG_CACHE_HOME", None)
        if cache is not None:
            os.environ["SURFORM_CACHE"] = str(cache)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)

    return before


def _format(name: str, root: Path) -> str:
    """What is wrong with reading a format's sample as nobody."""
    folder = root / f"format-{name}"
    folder.mkdir()
    try:
        path = ask(_write, name, folder)
        before = sorted(folder.rglob("*"))
        said = ask(_read, name, path, root)
        if not said and sorted(folder.rglob("*")) != before:
            return "files appeared beside the data"
        return said
    except RuntimeError as error:
        return str(error)
    finally:
        shutil.rmtree(folder)


def _import_encodings() -> None:
    """Codecs load when they are first used, from where the other user may not read."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):
            importlib.import_module(f"encodings.{module.name}")


def _write(name: str, folder: Path) -> Path:
    path = find(name).write(folder)
    for file in folder.rglob("*"):  # some libraries write for their user alone
        file.chmod(0o755 if file.is_dir() else 0o644)
    return path


def _read(name: str, path: Path, root: Path) -> str:
    _nobody(root, None)()
    os.environ["TMPDIR"] = "/tmp"
    try:
        find(name).read(path)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def is_root() -> bool:
    """Whether this process may become another user."""
    return sys.platform == "linux" and os.geteuid() == 0
