"""`surform info` on demonstrations of robots."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console

    from surform.data.demonstrations_source import Demonstrations

__all__ = ["show_demonstrations"]

_MOST = 50  # episodes whose numbers are read
_TASKS = 20


def show_demonstrations(console: Console, path: str) -> None:
    """How many episodes of which tasks, what is observed, and what the actions are."""
    from rich.table import Table

    from surform.data.demonstrations_files import open_demonstrations

    source = open_demonstrations(path)

    def show(text: str, **options: str) -> None:
        console.print(text, soft_wrap=True, **options)  # type: ignore[arg-type]

    steps = np.array([episode.steps for episode in source.episodes])
    lengths = (
        f"{steps.min():,}" if steps.min() == steps.max() else f"{steps.min():,} to {steps.max():,}"
    )
    show(
        f"{path}: {len(steps):,} episodes of {lengths} steps, {steps.sum():,} in all", style="bold"
    )
    for line in _tasks(source):
        show(line)
    table = Table("name", "what", "shape", "stored", box=None, pad_edge=False)
    for name, column in source.about.columns.items():
        shape = " x ".join(map(str, column.shape))
        stored = "one by one" if column.stored == "rows" else "packed"
        table.add_row(name, "camera" if column.kind == "image" else "vector", shape, stored)
    console.print(table)
    for line in (*_left_out(source), *_actions(source), *_others(source)):
        show(line[:400])


def _tasks(source: Demonstrations) -> list[str]:
    counts = Counter(episode.told for episode in source.episodes if episode.told)
    if not counts:
        return ["no tasks and no instructions"]
    shown = [f"{name} ({count})" for name, count in counts.most_common(_TASKS)]
    more = f", ... {len(counts) - _TASKS} more" if len(counts) > _TASKS else ""
    return [f"tasks: {', '.join(shown)}{more}"]


def _left_out(source: Demonstrations) -> list[str]:
    return [f"left out: {name}, as {why}" for name, why in source.about.left_out.items()]


def _actions(source: Demonstrations) -> list[str]:
    from surform.data.demonstrations_check import check_window
    from surform.data.demonstrations_statistics import measure

    count = len(source.episodes)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int)).tolist()

    def parts(name: str) -> object:
        for number in chosen:
            values = source.read(number, name, 0, source.episodes[number].steps)
            check_window(source, number, "actions" if name == "action" else name, values)
            yield values

    vectors = [n for n, c in source.about.columns.items() if c.kind == "numbers"]
    lines = []
    for name in ("action", *vectors):
        found = measure(parts(name))  # type: ignore[arg-type]
        names = source.about.action_names if name == "action" else ()
        limits = [
            f"{names[n] + ' ' if names else ''}{low:.4g} to {high:.4g}"
            for n, (low, high) in enumerate(zip(found["min"], found["max"], strict=True))
        ]
        shown = ", ".join(limits[:8]) + (f", ... ({len(limits)})" if len(limits) > 8 else "")
        lines.append(f"{name}: {shown}")
    if len(chosen) < count:
        lines.append(f"read: {len(chosen)} of the episodes")
    return lines


def _others(source: Demonstrations) -> list[str]:
    about = source.about
    lines = [] if about.fps is None else [f"steps in a second: {about.fps:g}"]
    if about.masks:
        masks = ", ".join(f"{name} ({len(own)})" for name, own in about.masks.items())
        lines.append(f"masks: {masks}")
    lines += [f"{name}: {value}" for name, value in about.environment.items() if value]
    return lines + [f"{name}: {value}" for name, value in about.source.items()]
