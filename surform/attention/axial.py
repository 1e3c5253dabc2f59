"""Factorised kernel integral: one n_i x n_i kernel per axis of a tensor-product grid.

Li, Shu, Farimani, "Scalable Transformer for PDE Surrogate Modeling", 2023 (arXiv 2305.17560),
equation 7 (chained); the parallel form is what iterated factorised models sum over axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surform.attention.checks import certainly, check_same_numbers
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
from surform.attention.slabs import chain, chain_reference

__all__ = ["axial"]


def _example(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple, dict]:
    head = (sizes.batch, sizes.heads)
    kernels = [make(*head, n, n) for n in sizes.grid]
    return (make(*head, *sizes.grid, sizes.width), kernels), {}


@kind("axial", _example)
def axial(
    v: Float[Tensor, "b h *grid e"],
    kernels: Sequence[Float[Tensor, "b h _ _"]],
    *,
    parallel: bool = False,
) -> Float[Tensor, "b h *result"]:
    """K_d ... K_2 K_1 v, axis i of v contracted with the last axis of K_i: (b, h, *grid, e).

    The kernels are used as they are, without softmax and without a division by n.

    Args:
        kernels: one (b, h, n_i, n_i) per axis of the grid.
        parallel: instead of the chain, K_i v for every i side by side: (b, h, *grid, e, d).

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    kernels = tuple(kernels)
    _check(v, kernels)
    return dispatch("axial", {"v": v, "kernels": kernels}, {"parallel": parallel})


def _check(v: Tensor, kernels: tuple[Tensor, ...]) -> None:
    if v.ndim < 4:
        raise ValueError(
            f"axial attention: v has shape {tuple(v.shape)}, expected (batch, heads, *grid, width)"
        )
    grid = v.shape[2:-1]
    if len(kernels) != len(grid):
        raise ValueError(
            f"axial attention: {len(kernels)} kernels for a grid of {len(grid)} axes, "
            "expected one per axis"
        )
    for i, (kernel, n) in enumerate(zip(kernels, grid, strict=True)):
        if kernel.shape != (*v.shape[:2], n, n):
            raise ValueError(
                f"axial attention: kernel {i} has shape {tuple(kernel.shape)}, expected "
                f"(batch, heads, n, n) = {(*v.shape[:2], n, n)}"
            )
    check_same_numbers("axial", v, *kernels)


@register("axial", "reference", priority=0)
def _reference(v: Tensor, kernels: tuple[Tensor, ...], parallel: bool) -> Tensor:
    """The definition, literally."""
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


# numbers of one head; below, the calls cost more than the copies they avoid
_SMALL_SLAB = 2**16


def _chained(call: Call) -> str | None:
    return "computes the chain only, not the parallel form" if call.has("parallel") else None


def _apart_supports(call: Call) -> str | None:
    return None if call.has("parallel") else "computes the parallel form only"


@register("axial", "apart", priority=20, supports=_apart_supports)
def _apart(v: Tensor, kernels: tuple[Tensor, ...], parallel: bool) -> Tensor:
    """In parallel: every axis by batched products on v as it lies in memory, parts side by side."""
    v = v.contiguous()
    parts = [_contract_in_place(v, kernel, axis) for axis, kernel in enumerate(kernels)]
    return torch.stack(parts, dim=2).movedim(2, -1)


def _contract_in_place(v: Tensor, kernel: Tensor, axis: int) -> Tensor:
    shape = v.shape  # (b, h, *grid, e)
    before, after = shape[2 : 2 + axis].numel(), shape[3 + axis :].numel()
    rows = v.view(*shape[:2], before, shape[2 + axis], after)
    return (kernel.unsqueeze(2) @ rows).view(shape)


def _slabs_supports(call: Call) -> str | None:
    if call.device != "cpu":
        return "walks over heads one by one, which suits a CPU's caches only"
    if call.dtype.itemsize < 4:
        return "16-bit numbers"
    return _chained(call)


def _slabs_pays(call: Call) -> str | None:
    if call.exporting:
        return "an exported program holds plain torch operations only"
    points = 1
    for n in call.shapes["v"][2:]:
        points = points * n
    if certainly(points < _SMALL_SLAB):
        return f"heads of {points} numbers are too small to walk over one by one"
    return None


@register("axial", "slabs", priority=30, supports=_slabs_supports, pays=_slabs_pays)
def _slabs(v: Tensor, kernels: tuple[Tensor, ...], parallel: bool) -> Tensor:
    """One head after the other: what lies between two contractions never leaves the cache."""
    return chain(v, list(kernels))


@register("axial", "rotate", priority=20, supports=_chained)
def _rotate(v: Tensor, kernels: tuple[Tensor, ...], parallel: bool) -> Tensor:
    """Batched products without copies in between: each one moves its axis to the end."""
    return chain_reference(v, kernels)
