"""A progress bar for whatever takes longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]

_PATIENCE = 2.0


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that shows a finished fraction (0 to 1) on standard error.

    Nothing is shown when the work ends within two seconds.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(title, total=1.0)
    begun = time.monotonic()
    shown = False

    def show(fraction: float) -> None:
        nonlocal shown
        if not shown and time.monotonic() - begun > _PATIENCE:
            bar.start()
            shown = True
        if shown:
            bar.update(task, completed=fraction)

    try:
        yield show
    finally:
        if shown:
            bar.stop()
