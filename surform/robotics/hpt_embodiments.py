"""HPT for several robots at once: stems and a head for each, one trunk for all.

Wang et al., "Scaling Proprioceptive-Visual Learning with Heterogeneous Pre-trained Transformers",
2024 (arXiv 2409.20537), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from surform.layers.arguments import record_arguments
from surform.robotics.hpt import HPT
from surform.robotics.hpt_trunk import Trunk

__all__ = ["HPTEmbodiments"]

_OF_THE_TRUNK = ("dim", "depth", "heads", "drop_path")


class HPTEmbodiments(nn.Module):
    """Robots that share a trunk, each with stems, limits and a head of its own.

    Wang et al., 2024 (arXiv 2409.20537).

    Args:
        embodiments: by the name of each robot, the arguments of its `HPT` beside those below.
        dim: width of the trunk; depth, heads: of its blocks.
        drop_path: share of the samples that skip the last block in training.
    """

    @record_arguments
    def __init__(
        self,
        embodiments: Mapping[str, Mapping[str, Any]],
        dim: int = 128,
        depth: int = 16,
        heads: int = 8,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if len(embodiments) < 2:
            listed = ", ".join(embodiments) or "nothing"
            raise ValueError(f"embodiments names {listed}, but must name two robots or more")
        self._given = {name: dict(own) for name, own in embodiments.items()}
        self._shared = {"dim": dim, "depth": depth, "heads": heads, "drop_path": drop_path}
        self.trunk = Trunk(dim, depth, heads, drop_path)
        self.robots = nn.ModuleDict({name: self._alone(name) for name in embodiments})
        for robot in self.robots.values():
            del robot.trunk
            robot.__dict__["trunk"] = self.trunk  # used by all, and owned by none of them

    def __getitem__(self, name: str) -> HPT:
        """The network of one robot; its trunk is that of all.

        Raises:
            ValueError: there is no such robot.
        """
        if name not in self.robots:
            raise ValueError(f"there is no robot {name!r}: there are {', '.join(self.robots)}")
        return self.robots[name]  # type: ignore[return-value]

    def alone(self, name: str) -> HPT:
        """One robot's network as a whole, which can be saved without the others.

        Its weights are those of this network, not copies.
        """
        robot, own = self[name], self._alone(name)
        for part, module in robot.named_children():
            setattr(own, part, module)
        own.trunk, own.action_tokens = self.trunk, robot.action_tokens
        return own.train(self.training)

    def _alone(self, name: str) -> HPT:
        given = self._given[name]
        taken = [key for key in _OF_THE_TRUNK if key in given]
        if taken:
            raise ValueError(f"{taken[0]} of {name} is that of the trunk, which all robots share")
        try:
            return HPT(**given, **self._shared)
        except TypeError as error:
            raise ValueError(f"embodiments.{name}: {error}") from error
