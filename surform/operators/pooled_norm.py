"""Layer norm of a field, to which an encoding is added first, and its means along every axis."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients
from surform.layers.native import fields, library, pointer, pointers, serves, thread_sums
from surform.layers.pages import large_empty

__all__ = ["axis_means", "pooled_norm"]

_MOST_AXES = 8


def pooled_norm(
    u: Float[Tensor, "b *grid c"], added: Float[Tensor, "*grid c"] | None, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """u + added, its norm, and per axis the norm's mean over all other axes, (b, n, c)."""
    scale, shift = norm.weight, norm.bias
    whole = added is None or (added.shape == u.shape[1:] and added.dtype == u.dtype)
    rank = u.ndim - 2
    if not (whole and norm.eps == 1e-5 and 2 <= rank <= _MOST_AXES and serves(u, u.shape[-1:])):
        found = _plain(u, added, scale, shift, norm.eps)
    else:
        found = _PooledNorm.apply(u, added, scale, shift)
    moved, normal, *means = found
    return moved, normal, means


def axis_means(u: Float[Tensor, "b *grid c"]) -> list[Float[Tensor, "b _ c"]]:
    """Per axis of the grid the mean over all others."""
    axes = range(1, u.ndim - 1)
    others = [tuple(a for a in axes if a != axis) for axis in axes]
    return [u.mean(dims) if dims else u for dims in others]


def _plain(
    u: Tensor, added: Tensor | None, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, ...]:
    u = u if added is None else u + added
    normal = nn.functional.layer_norm(u, scale.shape, scale, shift, eps)
    return (u, normal, *axis_means(normal))


class _Pooling(ctypes.Structure):
    _fields_ = [
        *fields(ctypes.c_long, "batch", "first", "rest", "channels", "rank"),
        ("axes", ctypes.c_long * _MOST_AXES),
        *fields(ctypes.c_void_p, "scale", "shift"),
        ("threads", ctypes.c_int),
    ]


def _sizes(u: Tensor, scale: Tensor, shift: Tensor) -> _Pooling:
    batch, *grid, channels = u.shape
    rest = u[0, 0].numel() // channels
    axes = (ctypes.c_long * _MOST_AXES)(*grid[1:])
    weights = map(pointer, (scale, shift))
    threads = torch.get_num_threads()
    return _Pooling(batch, grid[0], rest, channels, len(grid) - 1, axes, *weights, threads)


class _PooledNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, added: Tensor | None, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, ...]:
        u = u.contiguous()
        added = None if added is None else added.contiguous()
        batch, *grid, channels = u.shape
        moved = u if added is None else large_empty(u.shape, u)
        normal, first = large_empty(u.shape, u), u.new_empty(batch, grid[0], channels)
        sums = thread_sums(batch * sum(grid[1:]) * channels, u)
        native = library()
        assert native is not None
        native.surform_norm_and_pool(
            ctypes.byref(_sizes(u, scale, shift)), *pointers(u, added, moved, normal, first, sums)
        )
        points = u[0].numel() // channels
        others = sums.sum(0).view(batch, -1, channels).split(grid[1:], dim=1)
        means = [x * (n / points) for n, x in zip(grid[1:], others, strict=True)]
        ctx.added = added is not None
        ctx.save_for_backward(moved, scale, shift)
        ctx.set_materialize_grads(False)
        if added is None:
            moved = moved.view_as(moved)
        return (moved, normal, first, *means)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        moved, scale, shift = ctx.saved_tensors
        batch, *grid, channels = moved.shape
        if torch.is_grad_enabled():
            shapes = [moved.shape, moved.shape, *((batch, n, channels) for n in grid)]
            whole = tuple(
                moved.new_zeros(shape) if g is None else g
                for g, shape in zip(outer, shapes, strict=True)
            )
            needed = [ctx.needs_input_grad[0] or ctx.needs_input_grad[1], *ctx.needs_input_grad[2:]]
            du, dscale, dshift = differentiable_gradients(
                lambda u, *norm: _plain(u, None, *norm, 1e-5),
                [moved, scale, shift],
                needed,
                whole,
            )
        else:
            du, dscale, dshift = _gradients(moved, scale, shift, outer)
        dadded = du.sum(0) if ctx.added and du is not None else None
        return du, dadded, dscale, dshift


def _gradients(
    moved: Tensor, scale: Tensor, shift: Tensor, outer: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    batch, *grid, channels = moved.shape
    points = moved[0].numel() // channels
    dmoved, dnormal, *dmeans = outer
    dmeans = [
        moved.new_zeros(batch, n, channels) if d is None else d * (n / points)
        for n, d in zip(grid, dmeans, strict=True)
    ]
    dnormal = torch.zeros_like(moved) if dnormal is None else dnormal.contiguous()
    dmoved = None if dmoved is None else dmoved.contiguous()
    du, sums = large_empty(moved.shape, moved), thread_sums(2 * channels, moved)
    native = library()
    assert native is not None
    native.surform_norm_and_pool_backward(
        ctypes.byref(_sizes(moved, scale, shift)),
        *pointers(moved, dnormal, dmeans[0], torch.cat(dmeans[1:], 1), dmoved, du, sums),
    )
    dscale, dshift = sums.sum(0).split(channels)
    return du, dscale, dshift
