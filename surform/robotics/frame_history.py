"""The last frames of every camera and the last states, for networks that see them side by side."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from surform.robotics.policy_net import remembered

__all__ = ["FrameHistory"]

Memory = dict[str, Tensor]


class FrameHistory:
    """Part of a policy network: what it takes, and what it remembers of the steps before.

    Attributes:
        cameras: their names. frames: images of each that are seen.
        state_dim: numbers in the state, or None. state_frames: states that are seen.
        language_dim: width of the instruction's embedding, or None.
    """

    cameras: tuple[str, ...]
    frames: int
    state_dim: int | None
    state_frames: int
    language_dim: int | None

    @property
    def takes(self) -> tuple[str, ...]:
        """What it observes."""
        state = () if self.state_dim is None else ("state",)
        return (*self.cameras, *state, *(() if self.language_dim is None else ("language",)))

    @property
    def history(self) -> int:
        """Observations that it sees."""
        return max(self.frames if self.cameras else 1, self.state_frames)

    def start(self, batch: int = 1) -> Memory:
        """The memory before the first step: nothing seen yet."""
        return {}

    def observe(self, observation: Mapping[str, Tensor], memory: Memory) -> Memory:
        """The memory after a step: the last frames and states, the first repeated while alone."""
        steps = dict.fromkeys(self.cameras, self.frames) | {"state": self.state_frames}
        return {
            name: remembered(memory.get(name), observation[name], count)
            for name, count in steps.items()
            if name in observation  # what lacks is named where it is needed
        }

    def at_once(self, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Windows (b, time, ...) as the tokens take them: frames, and states side by side."""
        found = {name: seen[name][:, -self.frames :] for name in self.cameras if name in seen}
        if self.state_dim is not None and "state" in seen:
            found["state"] = seen["state"][:, -self.state_frames :].flatten(1)
        if self.language_dim is not None and "language" in seen:
            found["language"] = seen["language"]
        return found
