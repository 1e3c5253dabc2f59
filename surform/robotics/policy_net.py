"""What a policy asks of a network, and what networks that look back keep of the steps before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["PolicyNet", "Window", "remembered"]


@dataclass(eq=False)
class Window:
    """Windows of demonstrations as networks take them, with what was done.

    Args:
        observation: the last H observations by name, oldest first: "state" (b, H, s), each camera
            (b, H, 3, h, w); and "language" (b, e).
        actions: (b, c, a), the chunk that begins with the last observation.
        mask: (b, c), True = an action of the episode.
        past: (b, H - 1, a), the actions between the observations.
        seen: (b, H), False = before the episode began: the first observation, repeated.
    """

    observation: dict[str, Tensor]
    actions: Float[Tensor, "b c a"]
    mask: Bool[Tensor, "b c"]
    past: Float[Tensor, "b p a"]
    seen: Bool[Tensor, "b h"]


class PolicyNet(Protocol):
    """A network that `Policy` trains and lets act; actions and states in normalised units.

    Attributes:
        takes: names of what it observes: "state", "language", cameras; or "image", the only one.
        action_dim, chunk: numbers in an action, actions in a chunk.
        history: observations that it sees.
        images: "floats", normalised as ImageNet's are, or "bytes".
        in_units: states and actions are in the robot's units: the network has `limits` of its own,
            which is told the statistics by `fit_limits`.
        compiled_parts: methods that acting spends its time in, "module.method"; see
            `ready_to_act`.
    """

    action_dim: int
    chunk: int
    history: int
    images: Literal["floats", "bytes"]
    in_units: bool

    @property
    def compiled_parts(self) -> tuple[str, ...]: ...

    @property
    def takes(self) -> tuple[str, ...]: ...

    def learn(self, window: Window) -> Float[Tensor, ""]:
        """The loss."""
        ...

    def answer(self, window: Window) -> Float[Tensor, "b c a"]:
        """Chunks of actions from the observations; the actions of the window are not looked at."""
        ...

    def start(self, batch: int = 1) -> Any:
        """The memory before the first step of so many episodes."""
        ...

    def observe(self, observation: Mapping[str, Tensor], memory: Any) -> Any:
        """The memory after a step at which no action is asked for; observations without H."""
        ...

    def act(
        self, observation: Mapping[str, Tensor], memory: Any
    ) -> tuple[Float[Tensor, "b c a"], Any]:
        """The next chunk, and the memory after."""
        ...


def remembered(
    before: Float[Tensor, "b h ..."] | None, now: Float[Tensor, "b ..."], steps: int
) -> Float[Tensor, "b h ..."]:
    """The last so many observations with a new one; the first of an episode stands for earlier."""
    newest = now[:, None]
    if before is None:
        return newest.expand(-1, steps, *[-1] * (now.ndim - 1))
    return torch.cat((before[:, 1:], newest), 1)
