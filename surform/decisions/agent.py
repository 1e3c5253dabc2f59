"""An agent: a network that decides in context, and what it was trained in."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_description import DecisionsDescription
from surform.decisions.player import InContextPlayer
from surform.hub.pretrained import Pretrained

__all__ = ["Agent"]


class Agent(Pretrained):
    """What was seen of unknown worlds in, logits of the next action out.

    Args:
        net: a registered network that decides in context, such as dpt or in_context_bandit.
    """

    kind: ClassVar[str] = "decisions"
    usage: ClassVar[str] = (
        "player = model.player()\n"
        "player.start(batch=1)  # so many bandits side by side\n"
        "arm = player.choose()  # then player.learn(arm, reward), as long as there is a next round"
    )
    description: DecisionsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> DecisionsDescription:
        return DecisionsDescription.from_dict(values)

    def fit_to(self, description: DecisionsDescription) -> None:
        """Take over what the training worlds are; ValueError where the network is too short."""
        rounds, horizon = description.rounds, getattr(self.net, "horizon", description.rounds)
        if rounds > horizon:
            raise ValueError(
                f"contexts have {rounds} rounds, but the network has a horizon of {horizon}: set "
                "model.net.horizon, or data.rounds"
            )
        self.description = description

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the network says."""
        return self.net(*inputs)

    def logits(self, batch: DecisionBatch) -> Float[Tensor, "b m a"]:
        """Logits after 0, 1, ..., n transitions of each world: m = n + 1."""
        net: Any = self.net
        actions = F.one_hot(batch.actions, net.actions).to(batch.rewards.dtype)
        if net.situation == "arms":
            return net(batch.world.arms, actions, batch.rewards)
        return net(batch.query, batch.states, actions, batch.next_states, batch.rewards)

    def outputs(self, batch: DecisionBatch) -> Float[Tensor, "b a"]:
        """Probabilities of the actions after all transitions."""
        return torch.softmax(self.logits(batch)[:, -1], -1)

    def player(self, greedy: bool = False, temperature: float = 1.0) -> InContextPlayer:
        """Who plays bandits with the network; see `InContextPlayer`.

        Args:
            greedy: take the most probable arm instead of drawing one.
            temperature: below 1, improbable arms are drawn less often.
        """
        return InContextPlayer(self.net, greedy, temperature)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """ValueError: agents act, they read no file."""
        raise ValueError(
            "agents act instead of predicting from files: surform test measures one, and "
            "load_model(...).player() plays"
        )

    def example_inputs(self) -> dict[str, Tensor]:
        """Contexts of five rounds in two worlds."""
        net: Any = self.net
        dtype, rounds = next(self.parameters()).dtype, min(5, net.horizon)
        actions = F.one_hot(torch.arange(2 * rounds) % net.actions, net.actions)
        actions = actions.reshape(2, rounds, net.actions).to(dtype)
        rewards = torch.rand(2, rounds, dtype=dtype)
        if net.situation == "arms":
            arms = torch.rand(2, net.actions, net.features, dtype=dtype)
            return {"arms": arms, "actions": actions, "rewards": rewards}
        states = torch.ones(2, rounds, net.state_dim, dtype=dtype)
        return {
            "query": states[:, 0],
            "states": states,
            "actions": actions,
            "next_states": states,
            "rewards": rewards,
        }
