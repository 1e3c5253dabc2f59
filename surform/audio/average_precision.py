"""How well classes are found where clips have several: average precision and area under ROC."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["area_under_roc", "average_precision"]


def average_precision(
    scores: Float[Tensor, "n k"], truth: Float[Tensor, "n k"]
) -> Float[Tensor, " k"]:
    """Of each class, without interpolation, equal scores taken together; NaN where it never occurs.

    sum_t (recall_t - recall_{t-1}) precision_t over the thresholds t, the highest first, as
    scikit-learn computes it.
    """
    return torch.stack([_precision(*_sorted(s, t)) for s, t in zip(scores.T, truth.T, strict=True)])


def area_under_roc(
    scores: Float[Tensor, "n k"], truth: Float[Tensor, "n k"]
) -> Float[Tensor, " k"]:
    """Of each class: how often a clip with it has a higher score than one without, ties by half;
    NaN where it always or never occurs.
    """
    return torch.stack([_area(*_sorted(s, t)) for s, t in zip(scores.T, truth.T, strict=True)])


def _sorted(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Found and wrong so far (t,), float64, at each distinct score, the highest first."""
    values, order = scores.double().sort(descending=True, stable=True)
    found = truth.double()[order].cumsum(0)
    count = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device)
    last = torch.cat((values[1:] != values[:-1], values.new_ones(1, dtype=torch.bool)))
    return found[last], (count - found)[last]


def _precision(found: Tensor, wrong: Tensor) -> Tensor:
    gained = torch.diff(found, prepend=found.new_zeros(1))
    return (gained * found / (found + wrong)).sum() / found[-1]


def _area(found: Tensor, wrong: Tensor) -> Tensor:
    gained = torch.diff(wrong, prepend=wrong.new_zeros(1))
    before = torch.cat((found.new_zeros(1), found[:-1]))
    return (gained * (found + before) / 2).sum() / (found[-1] * wrong[-1])
