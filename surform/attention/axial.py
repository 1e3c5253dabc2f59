"""Factorised kernel integral: one n_i x n_i kernel per axis of a tensor-product grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["axial"]


def axial(
    v: Float[Tensor, "b h *grid e"],
    kernels: Sequence[Float[Tensor, "b h n n"]],
    *,
    parallel: bool = False,
) -> Float[Tensor, "..."]:
    """K_d ... K_2 K_1 v, axis i of v contracted with the last axis of K_i: (b, h, *grid, e).

    parallel: K_i v for every i side by side, (b, h, *grid, e, len(kernels)) with the last axis i.
    """
    if parallel:
        return torch.stack([_contract(v, kernel, i) for i, kernel in enumerate(kernels)], dim=-1)
    for i, kernel in enumerate(kernels):
        v = _contract(v, kernel, i)
    return v


def _contract(v: Tensor, kernel: Tensor, axis: int) -> Tensor:
    moved = v.movedim(axis + 2, -1)  # (b, h, *others, e, n)
    flat = moved.flatten(2, -2)  # (b, h, others * e, n)
    out = flat @ kernel.transpose(-2, -1)
    return out.unflatten(2, moved.shape[2:-1]).movedim(-1, axis + 2)
