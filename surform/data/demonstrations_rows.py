"""Steps of all episodes in one row: held in memory, mapped from a file, or read when asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int, Shaped

from surform.data.atomic import replacing, writer_lock
from surform.data.demonstrations_images import resized
from surform.data.demonstrations_source import Demonstrations

__all__ = ["FileRows", "HeldRows", "Rows", "SideBySide", "fitted", "hold", "starts_of", "unpack"]


class Rows(Protocol):
    """One observation, or the actions, of all steps."""

    def gather(self, rows: Int[np.ndarray, "b h"]) -> Shaped[np.ndarray, "b h ..."]:
        """Steps by their numbers; those of one sample belong to one episode."""
        ...


class HeldRows:
    """An array of all steps: in memory, or mapped from a file whose pages the system holds."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self.values[rows]


class FileRows:
    """Steps of a source; nothing is held, each sample is one read."""

    def __init__(self, source: Demonstrations, name: str) -> None:
        self.source, self.name, self.starts = source, name, starts_of(source)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        found = []
        for own in rows:
            first = int(own.min())
            episode = int(np.searchsorted(self.starts, first, side="right")) - 1
            begin = int(self.starts[episode])
            steps = self.source.read(episode, self.name, first - begin, int(own.max()) + 1 - begin)
            found.append(steps[own - first])
        return np.stack(found)


class SideBySide:
    """Several observations as one vector."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = list(parts)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part.gather(rows) for part in self.parts], -1)


def starts_of(source: Demonstrations) -> Int[np.ndarray, " e"]:
    """The number of each episode's first step, and of all steps."""
    return np.cumsum([0, *(episode.steps for episode in source.episodes)])


def hold(source: Demonstrations, names: Sequence[str]) -> np.ndarray:
    """Observations side by side, (steps, numbers) or images, read into memory."""
    parts = []
    for episode, about in enumerate(source.episodes):
        found = [source.read(episode, name, 0, about.steps) for name in names]
        parts.append(found[0] if len(found) == 1 else np.concatenate(found, -1))
    return np.concatenate(parts)


def unpack(
    source: Demonstrations,
    name: str,
    size: tuple[int, int] | None,
    folder: Path,
    progress: Callable[[float], None] = lambda done: None,
) -> HeldRows:
    """Steps written once, unpacked and of one size, into an .npy file in `folder`, and mapped.

    Args:
        size: (height, width) of images.
        progress: called with the finished fraction.

    Raises:
        BlockingIOError: another process is writing the same.
        OSError: the disk is full.
    """
    path = folder / f"{name.replace('/', '.')}-{_digest(source, name, size)}.npy"
    if not path.is_file():
        with writer_lock(path), replacing(path) as partial:
            _write(source, name, size, partial, progress)
    return HeldRows(np.load(path, mmap_mode="r"))


def _write(
    source: Demonstrations,
    name: str,
    size: tuple[int, int] | None,
    path: Path,
    progress: Callable[[float], None],
) -> None:
    starts = starts_of(source)
    numbers = name == "action" or source.column(name).kind == "numbers"
    stored = (source.about.actions,) if name == "action" else source.column(name).shape
    shape = stored if numbers else (*(size or stored[:2]), 3)
    made = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32 if numbers else np.uint8, shape=(int(starts[-1]), *shape)
    )
    for episode, about in enumerate(source.episodes):
        for begin in range(0, about.steps, _AT_ONCE):
            end = min(begin + _AT_ONCE, about.steps)
            steps = source.read(episode, name, begin, end)
            first = int(starts[episode]) + begin
            made[first : first + len(steps)] = steps if numbers else fitted(steps, size)
            progress((first + len(steps)) / int(starts[-1]))
    made.flush()


_AT_ONCE = 512  # steps that are unpacked together


def fitted(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Images (n, h, w, 3) uint8 of another size."""
    if size is None or images.shape[1:3] == size:
        return images
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)
    return resized(channels_first, size).permute(0, 2, 3, 1).numpy()


def _digest(source: Demonstrations, name: str, size: tuple[int, int] | None) -> str:
    """Changes with the files, the episodes and the size."""
    digest = hashlib.sha256(f"{name} {size}\n".encode())
    for path in source.files():
        if os.path.exists(path):
            status = os.stat(path)
            digest.update(
                f"{Path(path).resolve()} {status.st_size} {status.st_mtime_ns}\n".encode()
            )
    for episode in source.episodes:
        digest.update(f"{episode.name} {episode.steps}\n".encode())
    return digest.hexdigest()[:16]
