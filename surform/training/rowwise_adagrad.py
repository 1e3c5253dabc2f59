"""Adagrad with one number per row of a table: what large embedding tables are trained with.

Adagrad: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 2011; one accumulator per row as
in the code of DLRM (Naumov et al., 2019, arXiv 1906.00091). Rounding tables in bfloat16 by chance:
Gupta et al., "Deep Learning with Limited Numerical Precision", ICML 2015 (arXiv 1502.02551).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["RowwiseAdagrad", "restore_sums"]

_CUT = 1 << 16  # bfloat16 is float32 without its last 16 bits


class RowwiseAdagrad(Optimizer):
    """s_r += mean(g_r^2); w_r -= lr g_r / (sqrt(s_r) + eps), for each row r of a matrix.

    Its state is 1 / width of Adagrad's, in float32 at least. With sparse gradients only rows that
    were looked up are read and written, and the result is that of dense ones: other rows' gradients
    are zero.

    Matrices in bfloat16 keep 8 significant bits, to which a step is mostly too small to add. They
    are updated in float32 and then rounded up or down by chance, so that steps add up on average.
    The chance depends on the number of the step only: resumed runs go on exactly, and replicas on
    several processes stay alike.

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
            if not value >= 0:
                raise ValueError(f"{name} is {value}, but must be 0 or more")
        super().__init__(params, {"lr": lr, "eps": eps, "initial": initial})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As for every optimizer; ValueError for a parameter that is no matrix."""
        super().add_param_group(param_group)
        for table in self.param_groups[-1]["params"]:
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As for every optimizer; sums keep their precision."""
        super().load_state_dict(state_dict)
        restore_sums(self, state_dict)

    def _update(self, table: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, dtype = self.state[table], torch.promote_types(table.dtype, torch.float32)
        if not state:
            first = group["initial"]
            # like a column: where the table is in parts over processes, so are its sums
            state["sum"] = torch.full_like(table.detach()[:, 0], first, dtype=dtype)
            state["step"] = 0
        state["step"] += 1
        total: Tensor = state["sum"]
        if not grad.is_sparse:
            values = grad.to(dtype)
            total += values.square().mean(1)
            changed = table.to(dtype) - values * _scale(total, group)
            table.copy_(_rounded(changed, table.dtype, state["step"]))
            return
        # rows that were looked up several times are added up in the wider precision
        whole = torch.sparse_coo_tensor(
            grad._indices(), grad._values().to(dtype), grad.shape, check_invariants=False
        ).coalesce()
        rows, values = whole.indices()[0], whole.values()
        total.index_add_(0, rows, values.square().mean(1))
        changed = table[rows].to(dtype) - values * _scale(total[rows], group)
        table.index_copy_(0, rows, _rounded(changed, table.dtype, state["step"]))


def restore_sums(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take the sums of a saved state once more, which torch casts to the tables' precision."""
    numbers = [n for group in saved["param_groups"] for n in group["params"]]
    tables = [p for group in optimizer.param_groups for p in group["params"]]
    for number, table in zip(numbers, tables, strict=True):
        kept = saved["state"].get(number, {}).get("sum")
        if kept is not None and table.dtype == torch.bfloat16:
            optimizer.state[table]["sum"] = kept.to(table.device, copy=True)


def _scale(total: Tensor, group: dict[str, Any]) -> Tensor:
    """Learning rates of rows, (n, 1); 0 for rows that never had a gradient."""
    scale = group["lr"] / (total.sqrt() + group["eps"])
    return scale.masked_fill(total == 0, 0.0)[:, None]


def _rounded(x: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """`x` in another precision, to bfloat16 up or down by chance, its mean being kept."""
    if dtype != torch.bfloat16:
        return x.to(dtype)
    chance = torch.Generator(x.device).manual_seed(seed)
    shape, kind = x.shape, torch.int32
    added = torch.randint(_CUT, shape, generator=chance, device=x.device, dtype=kind)
    kept = ((x.view(kind) + added) & -_CUT).view(x.dtype)
    return torch.where(x.isfinite(), kept, x).to(dtype)
