"""How far a map agrees with the truth, from the table of true and predicted classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["FIGURES", "agreement"]


def agreement(table: Float[Tensor, "k k"], name: str) -> Tensor:
    """One of `FIGURES` of counts or shares, true classes down and predicted ones across."""
    return FIGURES[name](table / table.sum())


def _overall(table: Tensor) -> Tensor:
    """Share of all pixels that are right."""
    return table.diagonal().sum()


def _average(table: Tensor) -> Tensor:
    """Mean over the classes that there are of the share of their pixels that are right."""
    true = table.sum(1)
    return (table.diagonal() / true)[true > 0].mean()


def _kappa(table: Tensor) -> Tensor:
    """What is right beyond chance (Cohen 1960); 0 where all is one class, and said so."""
    chance = (table.sum(1) * table.sum(0)).sum()
    rest = 1 - chance
    return torch.where(rest > 0, (_overall(table) - chance) / rest.clamp(min=1e-300), 0.0)


FIGURES: dict[str, Callable[[Tensor], Tensor]] = {"oa": _overall, "aa": _average, "kappa": _kappa}
