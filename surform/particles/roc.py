"""How well jets of one class are told from all others: ROC curves, their areas, rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["EFFICIENCIES", "Roc", "mean_area", "roc_curves"]

# signal efficiencies that curves are given at
EFFICIENCIES = torch.linspace(0, 1, 201, dtype=torch.float64)


@dataclass(frozen=True)
class Roc:
    """One class against all others, every number of jets counted.

    Args:
        area: under the curve: the probability that a jet of the class has the larger score, ties
            counted half.
        signal: jets of the class.
        background: other jets.
        passed: (n + 1,), others that pass where 0 ... n jets of the class do.
    """

    area: float
    signal: int
    background: int
    passed: Tensor

    def background_efficiency(self, efficiency: Tensor | float) -> Tensor:
        """Share of the others that pass at shares of the class that do, between jets linear."""
        place = torch.as_tensor(efficiency, dtype=torch.float64) * self.signal
        low = place.floor().long().clamp(max=self.signal)
        high = (low + 1).clamp(max=self.signal)
        between = (self.passed[high] - self.passed[low]) * (place - low)
        return (self.passed[low] + between) / self.background

    def rejection(self, efficiency: float) -> float:
        """1 / background efficiency; where less than one jet passes, as if one did."""
        share = float(self.background_efficiency(efficiency))
        return 1 / max(share, 1 / self.background)


def roc_curves(scores: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> list[Roc | None]:
    """Of each class against all others; None where all jets are of it, or none.

    Args:
        scores: the larger, the more likely; only their order within a class counts.
    """
    return [_roc(scores[:, k].double(), labels == k) for k in range(scores.shape[1])]


def mean_area(curves: Sequence[Roc | None]) -> float:
    """Over the classes that there are; nan where there is none."""
    areas = [curve.area for curve in curves if curve is not None]
    return sum(areas) / len(areas) if areas else float("nan")


def _roc(score: Tensor, positive: Tensor) -> Roc | None:
    signal, background = score[positive], score[~positive].sort().values
    if not len(signal) or not len(background):
        return None
    signal = signal.sort(descending=True).values
    above = len(background) - torch.searchsorted(background, signal, right=True)
    tied = len(background) - torch.searchsorted(background, signal) - above
    halved = above + tied / 2
    area = 1 - float(halved.double().mean()) / len(background)
    passed = torch.cat((halved.new_zeros(1), halved)).double()
    return Roc(area, len(signal), len(background), passed.cummax(0).values)
