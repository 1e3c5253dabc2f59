"""Windows over the steps of episodes as a data set of whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.demonstrations_rows import FileRows, Rows, starts_of
from surform.data.demonstrations_source import Demonstrations

__all__ = ["DemonstrationSamples", "Recorded"]


@dataclass(frozen=True)
class Recorded:
    """All steps of a source, wherever they lie.

    Args:
        actions: (steps, A).
        state: (steps, S).
        images: by camera, (steps, height, width, 3).
        language: (episodes, E), what each is told.
    """

    source: Demonstrations
    actions: Rows
    state: Rows | None = None
    images: Mapping[str, Rows] = field(default_factory=dict)
    language: np.ndarray | None = None


class DemonstrationSamples(Dataset[DemonstrationBatch]):
    """One window for each step of the episodes of a split.

    Args:
        recorded: what is read.
        episodes: numbers of the split's episodes in the source.
        history: observations of a window, the newest one included.
        chunk: actions of a window.
    """

    def __init__(self, recorded: Recorded, episodes: np.ndarray, history: int, chunk: int) -> None:
        self.recorded, self.episodes = recorded, episodes
        self.history, self.chunk = history, chunk
        self._starts = starts_of(recorded.source)
        lengths = np.diff(self._starts)[episodes]
        self._windows = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return int(self._windows[-1])

    @property
    def reads_files(self) -> bool:
        """Whether windows are read from the files, and not from memory."""
        recorded = self.recorded
        every = [recorded.actions, recorded.state, *recorded.images.values()]
        parts = [p for rows in every for p in getattr(rows, "parts", [rows])]
        return any(isinstance(part, FileRows) for part in parts)

    def __getitem__(self, asked: Sequence[int]) -> DemonstrationBatch:
        numbers = np.asarray(asked, np.int64)
        episode, step = self._find(numbers)
        first, last = self._starts[episode], self._starts[episode + 1] - 1
        now = (first + step)[:, None]
        before = now + np.arange(1 - self.history, 1)
        ahead = now + np.arange(self.chunk)
        recorded, seen = self.recorded, np.maximum(before, first[:, None])
        done = np.concatenate([seen[:, :-1], np.minimum(ahead, last[:, None])], 1)
        actions = torch.from_numpy(recorded.actions.gather(done))
        language = None if recorded.language is None else recorded.language[episode]
        return DemonstrationBatch(
            actions=actions[:, self.history - 1 :],
            past=actions[:, : self.history - 1],
            mask=torch.from_numpy(ahead <= last[:, None]),
            seen=torch.from_numpy(before >= first[:, None]),
            state=None if recorded.state is None else torch.from_numpy(recorded.state.gather(seen)),
            images={n: torch.from_numpy(r.gather(seen)) for n, r in recorded.images.items()},
            language=None if language is None else torch.from_numpy(language),
            index=torch.from_numpy(numbers),
        )

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """Where each window comes from."""
        episode, step = self._find(index.numpy())
        source = self.recorded.source
        return {
            "episode": [source.place(number) for number in episode.tolist()],
            "step": step.tolist(),
            "told": [source.episodes[number].told for number in episode.tolist()],
        }

    def _find(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(episode in the source, step) of windows."""
        own = np.searchsorted(self._windows, numbers, side="right") - 1
        return self.episodes[own], numbers - self._windows[own]
