"""Kernels against slabs of values along any axis: the contraction and the kernel's gradient.

A slab is one head of one sample. As (before, n, after) around the axis it is a batch of products
with one kernel; where nothing comes after the axis, it is one large product.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["contract", "correlate"]


def contract(
    kernels: Float[Tensor, "s n n"],
    x: Float[Tensor, "s before n after"],
    out: Float[Tensor, "s before n after"],
) -> None:
    """out[s] = kernels[s] x[s] along n."""
    if x.shape[3] == 1:
        torch.bmm(x[..., 0], kernels.transpose(1, 2), out=out[..., 0])
        return
    for kernel, one, target in zip(kernels, x, out, strict=True):
        torch.bmm(kernel.expand(len(one), -1, -1), one, out=target)


def correlate(
    g: Float[Tensor, "s before n after"],
    x: Float[Tensor, "s before n after"],
    out: Float[Tensor, "s n n"],
) -> None:
    """out[s] += g[s] x[s]^T, summed over all but n."""
    if x.shape[3] == 1:
        out.baddbmm_(g[..., 0].transpose(1, 2), x[..., 0])
        return
    for one, other, target in zip(g, x, out, strict=True):
        target.addbmm_(one, other.transpose(1, 2))
