"""Deep ensembles: several networks trained from different seeds, their mean and their spread.

Lakshminarayanan, Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles" (2017), arXiv 1612.01474.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from surform.hub.pretrained import Pretrained
from surform.hub.recorded import recorded
from surform.uncertainty.wrapper import Wrapper, rebuild

__all__ = ["DeepEnsemble", "restored"]


class DeepEnsemble(Wrapper):
    """Models of one architecture and one description of data, used together.

    Args:
        members: at least two trained models that differ in their weights only.

    Raises:
        ValueError: fewer than two, or members that do not go together.
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(self, members: Sequence[Pretrained]) -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble needs at least two members, got {len(members)}")
        super().__init__(members[0])
        for number, member in enumerate(members[1:], 1):
            _require_alike(members[0], member, number)
        self.metrics, self.protocols = {}, {}  # those of one member are not the ensemble's
        self.members = nn.ModuleList(members)

    @property
    def wrapped(self) -> Pretrained:
        return self.members[0]  # type: ignore[return-value]

    @Wrapper.description.setter
    def description(self, value: Any) -> None:
        for member in self.members:
            member.description = value

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"count": len(self.members)}

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean of the members' outputs."""
        return torch.stack([member(*args, **kwargs) for member in self.members]).mean(0)

    def samples(self, batch: Any) -> Tensor:
        """`(members, B, ...)`: the outputs of every member."""
        return torch.stack([member.outputs(batch) for member in self.members])  # type: ignore[operator]

    def outputs(self, batch: Any) -> Tensor:
        """The mean of the members' outputs."""
        return self.samples(batch).mean(0)

    def quantiles(self, batch: Any) -> Tensor:
        """The mean of the members' quantiles, for members that are trained to give some."""
        return torch.stack([member.quantiles(batch) for member in self.members]).mean(0)  # type: ignore[operator]

    def spread(self, batch: Any) -> Tensor:
        """Standard deviation over the members (unbiased), in physical units."""
        return self.samples(batch).std(0)

    def check_statistics(self) -> None:
        for member in self.members:
            member.check_statistics()  # type: ignore[operator]


def restored(net: nn.Module, wraps: Mapping[str, Any], count: int) -> DeepEnsemble:
    """The model whose `settings` these are, before its tensors are loaded."""
    return DeepEnsemble([rebuild(copy.deepcopy(net), wraps) for _ in range(count)])


def _require_alike(first: Pretrained, other: Pretrained, number: int) -> None:
    for what, mine, theirs in (
        ("kind", first.kind, other.kind),
        ("network", recorded(first.net), recorded(other.net)),
        ("settings", first.settings(), other.settings()),
        ("data", _names(first.description), _names(other.description)),
    ):
        if mine != theirs:
            raise ValueError(f"member {number} differs from the first one in its {what}")


def _names(description: Any) -> dict[str, Any] | None:
    """What is described, without where it came from."""
    if description is None:
        return None
    return {name: value for name, value in description.to_dict().items() if name != "source"}
