"""Policies of several robots in one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.embodiments_description import EmbodimentsDescription
from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained
from surform.robotics.policy import Policy
from surform.robotics.policy_net import Window

__all__ = ["EmbodiedPolicy"]


class EmbodiedPolicy(Pretrained):
    """Several robots, one trunk: `robot(name)` is the policy of one of them.

    Args:
        net: an `HPTEmbodiments`.
    """

    kind: ClassVar[str] = "embodied_policy"
    usage: ClassVar[str] = "actions, memory = model.robot(NAME).act(observation, memory)"
    description: EmbodimentsDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        if not hasattr(net, "alone"):
            raise ValueError(f"{type(net).__name__} is no network of several robots")
        self._views: dict[str, Policy] = {}  # they make windows, at every batch

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> EmbodimentsDescription:
        return EmbodimentsDescription.from_dict(values)

    def fit_to(
        self,
        description: EmbodimentsDescription,
        state: Mapping[str, Normalizer],
        action: Mapping[str, Normalizer],
    ) -> None:
        """Take over the descriptions and statistics of all robots' training data.

        Raises:
            ValueError: the network has other robots, or one of them does not fit its data.
        """
        net: Any = self.net
        if set(description.robots) != set(net.robots):
            raise ValueError(
                f"the network has the robots {', '.join(net.robots)}, the data "
                f"{', '.join(description.robots)}"
            )
        for name, about in description.robots.items():
            try:  # limits lie in the network: fitting a view of it fits the network
                Policy(net.alone(name)).fit_to(about, state[name], action[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        self.description = description
        self._views.clear()

    def robot(self, name: str) -> Policy:
        """The policy of one robot, with the weights of this model: to act, or to save alone.

        Raises:
            ValueError: there is no such robot.
        """
        net: Any = self.net
        found = Policy(net.alone(name))
        found.action = Normalizer(torch.zeros(()), torch.ones(()))  # limits lie in the network
        found.description = None if self.description is None else self.description.robots[name]
        return found.to(next(self.parameters()).device).train(self.training)

    def robot_for(self, environment: str) -> Policy:
        """The policy of the robot whose demonstrations were made in an environment.

        Raises:
            ValueError: none, or several were.
        """
        robots = {} if self.description is None else self.description.robots
        homes = {name: str(own.environment.get("env_name", "")) for name, own in robots.items()}
        fitting = [name for name, home in homes.items() if home == environment]
        if len(fitting) != 1:
            listed = ", ".join(f"{name} ({home or 'unknown'})" for name, home in homes.items())
            raise ValueError(
                f"{len(fitting)} robots of the model were trained in {environment}; its robots and "
                f"their environments: {listed or ', '.join(self.net.robots)}"  # type: ignore[arg-type]
            )
        return self.robot(fitting[0])

    def exportable(self) -> Any:
        """ValueError: a program is that of one robot."""
        raise ValueError(
            "a program is written for one robot: save `model.robot(NAME)`, which is one of "
            f"{', '.join(self.net.robots)}, and export that"  # type: ignore[arg-type]
        )

    def window(self, name: str, batch: DemonstrationBatch) -> Window:
        """What a loader gives of one robot, as its network takes it."""
        if name not in self._views:
            self._views[name] = self.robot(name)
        return self._views[name].to(batch.actions.device).window(batch)
