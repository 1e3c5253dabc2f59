"""Adagrad with one number per row of a table: what large embedding tables are trained with.

Adagrad: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 2011; one accumulator per row as
in the code of DLRM (Naumov et al., 2019, arXiv 1906.00091).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["RowwiseAdagrad"]


class RowwiseAdagrad(Optimizer):
    """s_r += mean(g_r^2); w_r -= lr g_r / (sqrt(s_r) + eps), for each row r of a matrix.

    Its state is 1 / width of Adagrad's. With sparse gradients only rows that were looked up are
    read and written, and the result is that of dense ones: other rows' gradients are zero.

    Args:
        params: matrices; sparse or dense gradients.
        lr: learning rate.
        eps: keeps the first steps of a row finite.
        initial: first value of s_r.

    Raises:
        ValueError: a parameter that is no matrix, or numbers that cannot be.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, eps: float = 1e-8, initial: float = 0.0
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("initial", initial)):
            if value < 0:
                raise ValueError(f"{name} is {value}, but must be 0 or more")
        super().__init__(params, {"lr": lr, "eps": eps, "initial": initial})
        for group in self.param_groups:
            for table in group["params"]:
                if table.ndim != 2:
                    raise ValueError(
                        f"row-wise Adagrad is for matrices, but was given {tuple(table.shape)}"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, table.grad, group)
        return loss

    def _update(self, table: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            dtype = torch.promote_types(table.dtype, torch.float32)  # sums of small squares
            first = group["initial"]
            state["sum"] = torch.full((table.shape[0],), first, dtype=dtype, device=table.device)
        total: Tensor = state["sum"]
        if not grad.is_sparse:
            total += grad.to(total.dtype).square().mean(1)
            scale = group["lr"] / (total.sqrt() + group["eps"])
            scale = scale.masked_fill(total == 0, 0.0)  # never looked up
            table.sub_((grad * scale[:, None]).to(table.dtype))
            return
        grad = grad.coalesce()
        rows, values = grad.indices()[0], grad.values().to(total.dtype)
        total.index_add_(0, rows, values.square().mean(1))
        scale = group["lr"] / (total[rows].sqrt() + group["eps"])
        scale = scale.masked_fill(total[rows] == 0, 0.0)
        table.index_add_(0, rows, (-values * scale[:, None]).to(table.dtype))
