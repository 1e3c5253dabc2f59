"""Axis kernels by native code: `surform/native/axis_kernel.h`."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients
from surform.layers.native import fields, library, pointer, pointers, serves, thread_sums
from surform.layers.rotary import rotate_halves

__all__ = ["native_kernels", "turns_natively"]

Angles = tuple[Float[Tensor, "n half"], Float[Tensor, "n half"]]


class _Sizes(ctypes.Structure):
    """`struct AxisKernel` of axis_kernel.h."""

    _fields_ = [
        *fields(ctypes.c_long, "batch", "points", "latent", "heads", "width"),
        ("scaling", ctypes.c_float),
        ("threads", ctypes.c_int),
        *fields(ctypes.c_void_p, "query", "key", "cosine", "sine"),
    ]


def turns_natively(
    z: Tensor, query: nn.Linear, key: nn.Linear, heads: int, angles: Angles | None
) -> bool:
    """True where `native_kernels` does it, and no hook waits for queries or keys."""
    for linear in (query, key):
        if type(linear) is not nn.Linear or linear.weight.dtype != z.dtype:
            return False
        if linear._forward_hooks or linear._forward_pre_hooks or linear._backward_hooks:
            return False
    if z.ndim != 3 or any(x.dtype != z.dtype or x.requires_grad for x in angles or ()):
        return False
    return serves(z, (z.shape[-1], len(query.weight) // heads))


def native_kernels(
    z: Float[Tensor, "b n c"],
    query: Float[Tensor, "inner c"],
    key: Float[Tensor, "inner c"],
    heads: int,
    scaling: float,
    angles: Angles | None,
) -> Float[Tensor, "b h n n"]:
    """(rotary(z query^T) * scaling) (rotary(z key^T))^T per head; angles: cos and sin, or none."""
    cos, sin = (None, None) if angles is None else (x.contiguous() for x in angles)
    return _Kernels.apply(z, query, key, heads, scaling, cos, sin)  # type: ignore[no-any-return]


def _plain(
    z: Tensor,
    query: Tensor,
    key: Tensor,
    heads: int,
    scaling: float,
    cos: Tensor | None,
    sin: Tensor | None,
) -> Tensor:
    pair = [F.linear(z, w).unflatten(-1, (heads, -1)).transpose(1, 2) for w in (query, key)]
    if cos is not None and sin is not None:
        pair = [rotate_halves(x, cos, sin) for x in pair]
    return (pair[0] * scaling) @ pair[1].transpose(-2, -1)


class _Kernels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        query: Tensor,
        key: Tensor,
        heads: int,
        scaling: float,
        cos: Tensor | None,
        sin: Tensor | None,
    ) -> Tensor:
        z, query, key = z.contiguous(), query.contiguous(), key.contiguous()
        batch, n, _ = z.shape
        queries, keys = (z.new_empty(batch, heads, n, len(query) // heads) for _ in range(2))
        kernels = z.new_empty(batch, heads, n, n)
        ctx.options = (heads, scaling)
        sizes, native = _sizes(z, query, key, heads, scaling, cos, sin), library()
        assert native is not None
        native.surform_axis_kernels(ctypes.byref(sizes), *pointers(z, queries, keys, kernels))
        ctx.save_for_backward(z, query, key, cos, sin, queries, keys)
        return kernels

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        z, query, key, cos, sin, queries, keys = ctx.saved_tensors
        heads, scaling = ctx.options
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                lambda z, q, k: _plain(z, q, k, heads, scaling, cos, sin),
                [z, query, key],
                ctx.needs_input_grad[:3],
                outer[0],
            )
            return (*found, None, None, None, None)
        sizes, native = _sizes(z, query, key, heads, scaling, cos, sin), library()
        assert native is not None
        sums, g = thread_sums(z.numel(), z), outer[0].contiguous()
        dquery, dkey = torch.empty_like(query), torch.empty_like(key)
        native.surform_axis_kernels_backward(
            ctypes.byref(sizes), *pointers(z, queries, keys, g, sums, dquery, dkey)
        )
        return (sums.sum(0).view(z.shape), dquery, dkey, None, None, None, None)


def _sizes(
    z: Tensor,
    query: Tensor,
    key: Tensor,
    heads: int,
    scaling: float,
    cos: Tensor | None,
    sin: Tensor | None,
) -> _Sizes:
    pointed = map(pointer, (query, key, cos, sin))
    sizes = (*z.shape, heads, len(query) // heads)
    return _Sizes(*sizes, scaling, torch.get_num_threads(), *pointed)
