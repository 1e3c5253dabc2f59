"""Embedding tables with an optimizer of their own, beside that of all other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from surform.training.rowwise_adagrad import RowwiseAdagrad, restore_sums

__all__ = ["TABLE", "TablesApart"]

TABLE = "table"  # marks a group of parameters as embedding tables


class TablesApart(Optimizer):
    """One optimizer made of two: groups marked as tables go to the one, all others to the other.

    Schedules, checkpoints and clipping see one optimizer; parameter groups and state are shared
    with the two, and a run resumes exactly.

    Args:
        params: groups of parameters, of which some have `table` true.
        dense_optimizer: makes the optimizer of the other weights.
        table_optimizer: makes the optimizer of the tables; row-wise Adagrad takes sparse gradients.

    Raises:
        ValueError: no group is marked as tables, or all are.
    """

    def __init__(
        self,
        params: Iterable[Any],
        dense_optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-4
        ),
        table_optimizer: Callable[[Iterable], Optimizer] = lambda params: RowwiseAdagrad(
            params, lr=0.03
        ),
    ) -> None:
        groups = list(params)
        marked = [isinstance(group, dict) and bool(group.get(TABLE)) for group in groups]
        if not any(marked) or all(marked):
            raise ValueError(
                "TablesApart divides embedding tables from other weights, but the network has "
                f"only {'tables' if any(marked) else 'other weights'}: take one optimizer"
            )
        self.dense = dense_optimizer([g for g, own in zip(groups, marked, strict=True) if not own])
        self.tables = table_optimizer([g for g, own in zip(groups, marked, strict=True) if own])
        super().__init__([*self.dense.param_groups, *self.tables.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.dense.step()
        self.tables.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As for every optimizer; what tables in bfloat16 remember keeps its precision."""
        super().load_state_dict(state_dict)
        restore_sums(self, state_dict)
        self._share()

    def _share(self) -> None:
        """One set of groups and one state for all three."""
        for own, tables in ((self.dense, False), (self.tables, True)):
            own.state = self.state
            own.param_groups = [g for g in self.param_groups if bool(g.get(TABLE)) is tables]

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"dense": self.dense, "tables": self.tables}
