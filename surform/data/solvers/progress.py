"""A progress bar for whatever takes longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]

_PATIENCE = 2.0
_SILENCE = 30.0  # seconds without a line where no bar can move


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that shows a finished fraction (0 to 1) on standard error.

    Nothing is shown when the work ends within two seconds. Where standard error is no terminal, the
    bar comes at the end, and before it a line every half minute.
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
        TextColumn("{task.description}", markup=False),  # brackets are those of a path
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(title, total=1.0)
    begun = said = time.monotonic()
    shown = False

    def show(fraction: float) -> None:
        nonlocal shown, said
        if not bar.console.is_terminal and time.monotonic() - said > _SILENCE:
            said = time.monotonic()
            line = f"{title}: {fraction:.0%}"
            bar.console.print(line, soft_wrap=True, highlight=False, markup=False)
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
