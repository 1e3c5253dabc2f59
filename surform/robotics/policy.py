"""A policy: observations of a robot in, its next actions out, in the units of the robot."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained

__all__ = ["Policy"]


class Policy(Pretrained):
    """Chunks of actions from observations, step by step, with what a network remembers of them.

    Args:
        net: a registered policy. It has `start(batch) -> memory`, what it knows before the first
            step of so many episodes, and `act(observation, memory) -> (actions, memory)`:
            observations by their names, each (B, ...), actions (B, steps, A), normalised.
    """

    kind: ClassVar[str] = "policy"
    usage: ClassVar[str] = "actions, memory = model.act(observation, memory)"

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.action = Normalizer()

    def check_statistics(self) -> None:
        """ValueError when the statistics are not those of a vector of actions."""
        if self.action.mean.ndim > 1:
            raise ValueError(
                f"the statistics of actions have shape {tuple(self.action.mean.shape)}, but must "
                "be one number for each part of an action"
            )

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the network says, in normalised units."""
        return self.net(*inputs, **named)

    def start(self, batch: int = 1) -> Any:
        """The memory before the first step of so many episodes."""
        return self.net.start(batch)  # type: ignore[operator]

    def act(
        self, observation: dict[str, Tensor], memory: Any
    ) -> tuple[Float[Tensor, "b steps a"], Any]:
        """The next actions, in the robot's units, and the memory for the step after.

        Args:
            observation: by names, each (B, ...), as the network takes them.
            memory: of `start`, or of the step before.

        Raises:
            ValueError: without statistics, or observations that the network does not take.
        """
        actions, memory = self.net.act(observation, memory)  # type: ignore[operator]
        return self.action.denormalize(actions), memory
