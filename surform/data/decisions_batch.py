"""What a loader of decisions yields: what was seen of many worlds, and what is best in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["DecisionBatch"]


@dataclass(eq=False)
class DecisionBatch(TensorBatch):
    """Transitions in B unknown worlds, a state to act in, and the best action there.

    Args:
        query: `(B, S)`, the state to act in; bandits have one state, the number 1.
        states: `(B, n, S)`.
        actions: `(B, n)` int64.
        next_states: `(B, n, S)`.
        rewards: `(B, n)`.
        optimal: `(B,)` int64, the best action in `query`.
        world: the worlds themselves, to play in.
        index: `(B,)` int64, the number of each world in its split.
        chances: `(B, n + 1, A)`, how probable it is that each action is the best one, given the
            first 0, 1, ..., n transitions; None where only `optimal` is asked for.
    """

    query: Tensor
    states: Tensor
    actions: Tensor
    next_states: Tensor
    rewards: Tensor
    optimal: Tensor
    world: Any
    index: Tensor
    chances: Tensor | None = None

    def __len__(self) -> int:
        return len(self.query)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The batch with `function` applied to every tensor, those of the worlds too."""
        found = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                found[item.name] = value.map(function) if item.name == "world" else function(value)
        return replace(self, **found)
