"""Layer norm of a field, to which an encoding is added first, and its means along every axis."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients
from surform.layers.fourier_encoding import FourierEncoding
from surform.layers.native import fields, library, pointer, pointers, serves, thread_sums
from surform.layers.pages import large_empty

__all__ = ["axis_means", "encoded_norm", "pooled_norm"]

_MOST_AXES = 8
_EPS = 1e-5


def encoded_norm(
    u: Float[Tensor, "b *grid c"],
    encoding: FourierEncoding,
    coordinates: Sequence[Tensor],
    norm: nn.LayerNorm,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """`pooled_norm` of u and its encoding, whose linear map is part of it where that pays."""
    map_, bias = encoding.project.weight, encoding.project.bias
    alone = len(u) == 1 and torch.is_grad_enabled() and not encoding._forward_hooks
    if alone and _natively(u, norm, map_.shape):
        features = encoding.fixed_features(coordinates)
        if not features.requires_grad and features.dtype == u.dtype:
            moved, normal, *means = _PooledNorm.apply(
                u, None, features, map_, bias, norm.weight, norm.bias
            )
            return moved, normal, means
    return pooled_norm(u, encoding(coordinates), norm)


def pooled_norm(
    u: Float[Tensor, "b *grid c"], added: Float[Tensor, "*grid c"] | None, norm: nn.LayerNorm
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """u + added, its norm, and per axis the norm's mean over all other axes, (b, n, c)."""
    whole = added is None or (added.shape == u.shape[1:] and added.dtype == u.dtype)
    if whole and _natively(u, norm):
        found = _PooledNorm.apply(u, added, None, None, None, norm.weight, norm.bias)
    else:
        u = u if added is None else u + added
        normal = norm(u)
        found = (u, normal, *axis_means(normal))
    moved, normal, *means = found
    return moved, normal, means


def axis_means(u: Float[Tensor, "b *grid c"]) -> list[Float[Tensor, "b _ c"]]:
    """Per axis of the grid the mean over all others."""
    axes = range(1, u.ndim - 1)
    others = [tuple(a for a in axes if a != axis) for axis in axes]
    return [u.mean(dims) if dims else u for dims in others]


def _natively(u: Tensor, norm: nn.LayerNorm, widths: Sequence[int] = ()) -> bool:
    rank = u.ndim - 2
    return norm.eps == _EPS and 2 <= rank <= _MOST_AXES and serves(u, (u.shape[-1], *widths))


class _Pooling(ctypes.Structure):
    _fields_ = [
        *fields(ctypes.c_long, "batch", "first", "rest", "channels", "rank"),
        ("axes", ctypes.c_long * _MOST_AXES),
        *fields(ctypes.c_void_p, "scale", "shift", "added", "features", "map", "bias"),
        ("inner", ctypes.c_long),
        ("threads", ctypes.c_int),
    ]


def _sizes(u: Tensor, *tensors: Tensor | None) -> _Pooling:
    """tensors: scale, shift, added, features, turned map, bias."""
    batch, *grid, channels = u.shape
    rest = u[0, 0].numel() // channels
    axes = (ctypes.c_long * _MOST_AXES)(*grid[1:])
    features = tensors[3]
    inner = 0 if features is None else features.shape[-1]
    pointed = map(pointer, tensors)
    threads = torch.get_num_threads()
    return _Pooling(batch, grid[0], rest, channels, len(grid) - 1, axes, *pointed, inner, threads)


class _PooledNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        added: Tensor | None,
        features: Tensor | None,
        map_: Tensor | None,
        bias: Tensor | None,
        scale: Tensor,
        shift: Tensor,
    ) -> tuple[Tensor, ...]:
        u = u.contiguous()
        added = None if added is None else added.contiguous()
        batch, *grid, channels = u.shape
        still = added is None and features is None
        moved = u if still else large_empty(u.shape, u)
        normal, first = large_empty(u.shape, u), u.new_empty(batch, grid[0], channels)
        sums = thread_sums(batch * sum(grid[1:]) * channels, u)
        turned = None if map_ is None else map_.t().contiguous()
        sizes, native = _sizes(u, scale, shift, added, features, turned, bias), library()
        assert native is not None
        native.surform_norm_and_pool(ctypes.byref(sizes), *pointers(u, moved, normal, first, sums))
        points = u[0].numel() // channels
        others = sums.sum(0).view(batch, -1, channels).split(grid[1:], dim=1)
        means = [x * (n / points) for n, x in zip(grid[1:], others, strict=True)]
        ctx.save_for_backward(moved, features, bias, scale, shift)
        ctx.set_materialize_grads(False)
        return (moved.view_as(moved) if still else moved, normal, first, *means)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        moved, features, bias, scale, shift = ctx.saved_tensors
        needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            needed = [any(needs[:2]) or any(needs[3:5]), *needs[5:]]
            du, dscale, dshift = differentiable_gradients(
                _plain, [moved, scale, shift], needed, _whole(moved, outer)
            )
            dmap = dbias = None
            if features is not None and du is not None:
                dmap = du.flatten(0, -2).t() @ features.flatten(0, -2)
                dbias = du.flatten(0, -2).sum(0)
        else:
            sizes = _sizes(moved, scale, shift, None, features, None, bias)
            du, (dscale, dshift, dmap, dbias) = _gradients(sizes, moved, outer)
        dadded = du.sum(0) if needs[1] and du is not None else None
        return du, dadded, None, dmap, dbias, dscale, dshift


def _plain(u: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
    normal = F.layer_norm(u, scale.shape, scale, shift, _EPS)
    return (u, normal, *axis_means(normal))


def _whole(moved: Tensor, outer: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    batch, *grid, channels = moved.shape
    shapes = [moved.shape, moved.shape, *((batch, n, channels) for n in grid)]
    pairs = zip(outer, shapes, strict=True)
    return tuple(moved.new_zeros(shape) if g is None else g for g, shape in pairs)


def _gradients(
    sizes: _Pooling, moved: Tensor, outer: Sequence[Tensor | None]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
    """Of moved, and of the norm's scale and shift and the map and its bias."""
    batch, *grid, channels = moved.shape
    points = moved[0].numel() // channels
    dmoved, dnormal, *dmeans = outer
    dmeans = [
        moved.new_zeros(batch, n, channels) if d is None else d * (n / points)
        for n, d in zip(grid, dmeans, strict=True)
    ]
    dnormal = torch.zeros_like(moved) if dnormal is None else dnormal.contiguous()
    dmoved = None if dmoved is None else dmoved.contiguous()
    inner = sizes.inner
    counts = [channels, channels] + ([inner * channels, channels] if inner else [])
    du, sums = large_empty(moved.shape, moved), thread_sums(sum(counts), moved)
    native = library()
    assert native is not None
    native.surform_norm_and_pool_backward(
        ctypes.byref(sizes),
        *pointers(moved, dnormal, dmeans[0], torch.cat(dmeans[1:], 1), dmoved, du, sums),
    )
    dscale, dshift, *rest = sums.sum(0).split(counts)
    dmap, dbias = (rest[0].view(channels, inner), rest[1]) if inner else (None, None)
    return du, (dscale, dshift, dmap, dbias)
