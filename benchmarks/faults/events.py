"""Changes of files below a folder, counted as a command makes them, and a kill at one of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["kill_at", "record"]

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR


def record(folder: Path, target: Path) -> Callable[[], None]:
    """For `forked.start`: note at each change the processor seconds used, as JSON in `target`."""

    def before() -> None:
        begun, seconds = time.process_time(), []
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def note() -> None:
            seconds.append(time.process_time() - begun)
            os.pwrite(descriptor, json.dumps(seconds).encode(), 0)

        _watch(folder, note)

    return before


def kill_at(folder: Path, number: int) -> Callable[[], None]:
    """For `forked.start`: SIGKILL to the own process group just before change `number`."""

    def before() -> None:
        left = number

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.killpg(0, signal.SIGKILL)

        _watch(folder, count)

    return before


def _watch(folder: Path, happened: Callable[[], None]) -> None:
    """Call `happened` ahead of every change below a folder that Python itself makes."""
    root = f"{folder}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            changes = bool((flags or 0) & _WRITING) or (mode or "r")[0] in "wxa"
        else:
            path, changes = (arguments or (None,))[0], event in _CHANGES
        named = isinstance(path, str | os.PathLike)
        if changes and named and os.path.join(root, os.fspath(path)).startswith(root):
            happened()

    sys.addaudithook(hook)
