"""Which actions of the predicted chunks are done."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch

__all__ = ["OpenLoop", "TemporalEnsemble"]


class OpenLoop:
    """The first actions of a chunk one after the other, then the next chunk.

    Args:
        steps: actions of each chunk that are done; None: half of it, rounded up.

    Raises:
        ValueError: none, or, when acting, more than a chunk has.
    """

    def __init__(self, steps: int | None = None) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"execute is {steps}, but at least 1 action of a chunk must be done")
        self.steps = steps
        self._queue: deque[np.ndarray] = deque()

    @property
    def label(self) -> str:
        """How it is told."""
        return f"{self.steps or 'half of the'} actions of each chunk"

    def begin(self) -> None:
        """Forget the episodes before."""
        self._queue.clear()

    def act(self, policy: Any, observation: Any, memory: Any) -> tuple[np.ndarray, Any]:
        """The next action of each episode (b, a), and the policy's memory."""
        if self._queue:
            return self._queue.popleft(), policy.observe(observation, memory)
        actions, memory = policy.act(observation, memory)
        chunk = _array(actions)
        steps = -(-chunk.shape[1] // 2) if self.steps is None else self.steps
        if steps > chunk.shape[1]:
            raise ValueError(f"execute is {steps}, but the policy's chunks have {chunk.shape[1]}")
        self._queue.extend(chunk[:, step] for step in range(steps))
        return self._queue.popleft(), memory


class TemporalEnsemble:
    """At every step a chunk, and the mean of what all chunks so far say of this step.

    The i-th oldest of them, from 0, weighs exp(-decay i) (Zhao et al., ACT, 2023, arXiv
    2304.13705, section IV).

    Args:
        decay: 0 is a plain mean; the larger, the longer older chunks are followed.
    """

    def __init__(self, decay: float = 0.01) -> None:
        if not 0 <= decay < float("inf"):
            raise ValueError(f"the decay of the ensemble is {decay}, but must be 0 or more")
        self.decay = decay
        self._chunks: deque[np.ndarray] = deque()

    @property
    def label(self) -> str:
        """How it is told."""
        return f"temporal ensemble of decay {self.decay:g}"

    def begin(self) -> None:
        """Forget the episodes before."""
        self._chunks.clear()

    def act(self, policy: Any, observation: Any, memory: Any) -> tuple[np.ndarray, Any]:
        """The next action of each episode (b, a), and the policy's memory."""
        actions, memory = policy.act(observation, memory)
        self._chunks.append(_array(actions))
        if len(self._chunks) > self._chunks[-1].shape[1]:
            self._chunks.popleft()  # it says nothing of this step any more
        age = range(len(self._chunks) - 1, -1, -1)
        said = np.stack([chunk[:, n] for chunk, n in zip(self._chunks, age, strict=True)])
        weights = np.exp(-self.decay * np.arange(len(said)))
        return np.tensordot(weights / weights.sum(), said, 1), memory


def _array(actions: Any) -> np.ndarray:
    found = torch.as_tensor(actions).detach().cpu().numpy()
    if found.ndim != 3:
        raise ValueError(
            f"the policy gives actions of shape {found.shape}, but must give (episodes, chunk, "
            "numbers)"
        )
    return found
