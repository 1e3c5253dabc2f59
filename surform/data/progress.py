"""A progress bar for what takes longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

__all__ = ["reporting"]

_PATIENCE = 2.0  # seconds


@contextmanager
def reporting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how much is done; a bar appears after two seconds.

    The bar goes to stderr, and only where that is a terminal.
    """
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=total)
    begun = time.monotonic()

    def done(count: int) -> None:
        if not bar.live.is_started and time.monotonic() - begun > _PATIENCE:
            bar.start()
        bar.update(task, completed=count)

    try:
        yield done
    finally:
        bar.stop()
