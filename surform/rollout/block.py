"""Frames on their way to the store, and the truth on its way in, a chunk at a time."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from surform.rollout.store import Layout, Store
from surform.rollout.trajectories import Trajectories

__all__ = ["Block"]


class Block:
    """Frames wait here until they fill a chunk; the truth is read in pieces of the same length."""

    def __init__(self, store: Store, course: Trajectories, samples: slice, layout: Layout) -> None:
        self.store, self.course, self.samples = store, course, samples
        self.steps, self.length = layout.sizes["time"], layout.frames_per_block
        self.members = "member" in layout.sizes
        self.waiting: list[np.ndarray] = []
        self.written = 0
        self.known: Tensor | None = None

    def truth(self, step: int) -> Tensor | None:
        """The true frame of this step, `(B, *grid, C)`; None past the end of the data."""
        offset = step - self.written
        if offset == 0:
            count = min(self.length, self.steps - step)
            self.known = self.course.truth(self.samples, step, count)
        if self.known is None or offset >= self.known.shape[1]:
            return None
        return self.known[:, offset]

    def put(self, frame: Tensor) -> None:
        """Take the next frame, `(B, M, *grid, C)`."""
        frame = frame if self.members else frame[:, 0]
        self.waiting.append(frame.detach().cpu().numpy())
        if len(self.waiting) == self.length:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self.waiting:
            return
        values = np.stack(self.waiting, axis=2 if self.members else 1)
        times = slice(self.written, self.written + len(self.waiting))
        for channel, name in enumerate(self.course.grid.targets):
            self.store.write(name, self.samples, times, values[..., channel])
        self.written = times.stop
        self.waiting = []
