"""Where all steps of demonstrations lie while a policy is trained: in memory, or on the disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surform.data.demonstrations_check import check_finite
from surform.data.demonstrations_rows import (
    FileRows,
    HeldRows,
    Rows,
    SideBySide,
    fitted,
    hold,
    starts_of,
    unpack,
)
from surform.data.demonstrations_samples import Recorded
from surform.data.demonstrations_source import Demonstrations
from surform.data.demonstrations_text import embed_text
from surform.data.solvers.progress import progress_bar

__all__ = ["record"]


def record(
    source: Demonstrations,
    vectors: Sequence[str],
    cameras: Mapping[str, tuple[int, int]],
    language: tuple[str | None, int],
    limit: float,
    frames: Path,
    used: Collection[int],
) -> tuple[Recorded, int]:
    """All steps, and how many bytes of them are in memory: actions, the state, then cameras.

    Args:
        vectors: observations that make the state.
        cameras: (height, width) that their images are brought to.
        language: "text" or an observation, and the length of embeddings of text.
        limit: bytes that may be held.
        frames: folder for what must be unpacked and is not held.
        used: episodes of some split; what is wrong with others does not matter.

    Raises:
        ValueError: numbers that are not finite, episodes without an instruction.
    """
    left = _Left(limit)
    steps = int(starts_of(source)[-1])

    def numbers(names: Sequence[str], width: int) -> Rows:
        if not left.take(4 * width * steps):
            return SideBySide([_on_disk(source, name, None, frames) for name in names])
        values = hold(source, names)
        what = "actions" if list(names) == ["action"] else ", ".join(names)
        check_finite(source, what, values, used)
        return HeldRows(values)

    actions = numbers(["action"], source.about.actions)
    width = sum(source.column(name).shape[0] for name in vectors)
    state = numbers(vectors, width) if vectors else None
    images: dict[str, Rows] = {}
    for name, size in cameras.items():
        if left.take(3 * size[0] * size[1] * steps):
            images[name] = HeldRows(_held_images(source, name, size, steps))
        else:
            images[name] = _on_disk(source, name, size, frames)
    return Recorded(source, actions, state, images, _told(source, *language, used)), left.taken


@dataclass
class _Left:
    """How much memory there is left."""

    limit: float
    taken: int = 0

    def take(self, size: int) -> bool:
        """Whether so many bytes more may be held; they count from then on."""
        fits = self.taken + size <= self.limit
        self.taken += size if fits else 0
        return fits


def _on_disk(source: Demonstrations, name: str, size: tuple[int, int] | None, frames: Path) -> Rows:
    """What is read for each window: from the file itself, or from an unpacked copy."""
    if not _packed(source, name) and (size is None or source.column(name).shape[:2] == size):
        return FileRows(source, name)
    with progress_bar(f"unpacking {name} of {source.name}") as progress:
        return unpack(source, name, size, frames, progress)


def _packed(source: Demonstrations, name: str) -> bool:
    """Whether steps cannot be read one by one; actions lie as the other numbers do."""
    columns = source.about.columns
    if name != "action":
        return columns[name].stored == "packed"
    return any(c.stored == "packed" for c in columns.values() if c.kind == "numbers")


def _held_images(
    source: Demonstrations, name: str, size: tuple[int, int], steps: int
) -> np.ndarray:
    found, done = np.empty((steps, *size, 3), np.uint8), 0
    with progress_bar(f"reading {name} of {source.name}") as progress:
        for episode, about in enumerate(source.episodes):
            images = source.read(episode, name, 0, about.steps)
            found[done : done + about.steps] = fitted(images, size)
            done += about.steps
            progress(done / steps)
    return found


def _told(
    source: Demonstrations, language: str | None, dim: int, used: Collection[int]
) -> np.ndarray | None:
    """(episodes, E): what each is told."""
    if language is None:
        return None
    if language == "text":
        for number, episode in enumerate(source.episodes):
            if number in used and not episode.told:
                raise ValueError(
                    f"{source.place(number)} has neither instruction nor task, but data.language "
                    "is text"
                )
        return np.stack(
            [
                embed_text(episode.told, dim) if number in used else np.zeros(dim, np.float32)
                for number, episode in enumerate(source.episodes)
            ]
        )
    if source.column(language).kind != "numbers":
        raise ValueError(f"{language} of {source.name} holds images, but no embedding")
    values = np.stack(
        [source.read(number, language, 0, 1)[0] for number in range(len(source.episodes))]
    )
    if not np.isfinite(values[sorted(used)]).all():
        raise ValueError(f"embeddings in {language} of {source.name} are not all finite")
    return values
