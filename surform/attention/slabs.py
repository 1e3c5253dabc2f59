"""Chained axis contractions one head at a time, for CPUs.

A head's share of v, its slab (*grid, e), is a few megabytes: contracted axis by axis in two
scratch buffers, it is read from and written to memory once, whatever the number of axes and
whichever way heads are laid out.  The backward pass recomputes what lies between the contractions
instead of storing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["chain", "chain_reference", "contract", "correlate"]


def chain_reference(v: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """K_d ... K_1 v by batched products, differentiable to any order.

    Every product contracts the first axis of the grid and leaves it last, so that the next axis
    stands first without a copy: (n_1, rest)^T K_1^T = (rest, n_1).
    """
    b, h, *grid, e = v.shape
    sizes = [*grid, e]  # in the order that they stand in memory
    x = v
    for kernel in kernels:
        first, *others = sizes
        x = x.reshape(b, h, first, math.prod(others)).transpose(-2, -1)  # (b, h, rest, n_i)
        x = x @ kernel.transpose(-2, -1)
        sizes = [*others, first]
    return x.reshape(b, h, e, *grid).movedim(2, -1)


def chain(v: Tensor, kernels: list[Tensor]) -> Tensor:
    """K_d ... K_1 v for v (b, h, *grid, e) and K_i (b, h, n_i, n_i), laid out as v."""
    return _chain(v, kernels)


def _like(v: Tensor) -> Tensor:
    """Uninitialised tensor of v's shape, heads inside or outside of the grid as in v."""
    if v.shape[1] > 1 and v.stride(1) < v.stride(-2):
        b, h, *grid, e = v.shape
        return v.new_empty(b, *grid, h, e).movedim(-2, 1)
    return v.new_empty(v.shape)


def contract(kernel: Tensor, x: Tensor, axis: int, out: Tensor) -> None:
    """Axis `axis` of the contiguous slab x, contracted with the last axis of the kernel."""
    n, before, after = x.shape[axis], x.shape[:axis].numel(), x.shape[axis + 1 :].numel()
    if before == 1:
        torch.mm(kernel, x.view(n, after), out=out.view(n, after))
    else:
        many = kernel.expand(before, n, n)
        torch.bmm(many, x.view(before, n, after), out=out.view(before, n, after))


def _gather(part: Tensor, scratch: Tensor) -> Tensor:
    """The slab itself when it is contiguous, else a copy in scratch memory.

    Scratch memory is reused from head to head: fresh pages cost more than the copy.
    """
    return part if part.is_contiguous() else scratch.copy_(part)


@torch.library.custom_op(
    "surform::axial_chain", mutates_args=(), schema="(Tensor v, Tensor[] kernels) -> Tensor"
)
def _chain(v: Tensor, kernels: list[Tensor]) -> Tensor:
    result = _like(v)
    straight = result.is_contiguous()
    buffers = [v.new_empty(v.shape[2:]) for _ in range(2)]
    last = len(kernels) - 1
    for i in range(v.shape[0]):
        for j in range(v.shape[1]):
            x = _gather(v[i, j], buffers[1])
            for axis, kernel in enumerate(kernels):
                out = result[i, j] if straight and axis == last else buffers[axis % 2]
                contract(kernel[i, j], x, axis, out)
                x = out
            if not straight:
                result[i, j].copy_(x)
    return result


@_chain.register_fake
def _chain_shape(v: Tensor, kernels: list[Tensor]) -> Tensor:
    return _like(v)


def correlate(g: Tensor, x: Tensor, axis: int) -> Tensor:
    """sum over all other axes of g x^T: (n, n), the gradient of a kernel."""
    n, before, after = x.shape[axis], x.shape[:axis].numel(), x.shape[axis + 1 :].numel()
    g, x = g.view(before, n, after), x.view(before, n, after)
    if before == 1:
        return g[0] @ x[0].T
    return torch.addbmm(g.new_zeros(n, n), g, x.transpose(1, 2))


@torch.library.custom_op(
    "surform::axial_chain_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor v, Tensor[] kernels) -> Tensor[]",
)
def _chain_backward(grad: Tensor, v: Tensor, kernels: list[Tensor]) -> list[Tensor]:
    grad_v = _like(v)
    straight = grad_v.is_contiguous()
    grads = [torch.empty_like(kernel, memory_format=torch.contiguous_format) for kernel in kernels]
    states = [v.new_empty(v.shape[2:]) for _ in kernels]
    buffers = [v.new_empty(v.shape[2:]) for _ in range(2)]
    for i in range(v.shape[0]):
        for j in range(v.shape[1]):
            own = [kernel[i, j] for kernel in kernels]
            between = [_gather(v[i, j], states[0]), *states[1:]]
            for axis, kernel in enumerate(own[:-1]):
                contract(kernel, between[axis], axis, between[axis + 1])
            g = _gather(grad[i, j], buffers[len(kernels) % 2])
            for axis in range(len(own) - 1, -1, -1):
                grads[axis][i, j] = correlate(g, between[axis], axis)
                out = grad_v[i, j] if straight and axis == 0 else buffers[axis % 2]
                contract(own[axis].T, g, axis, out)
                g = out
            if not straight:
                grad_v[i, j].copy_(g)
    return [grad_v, *grads]


@_chain_backward.register_fake
def _chain_backward_shape(grad: Tensor, v: Tensor, kernels: list[Tensor]) -> list[Tensor]:
    return [_like(v), *(kernel.new_empty(kernel.shape) for kernel in kernels)]


def _keep(ctx, inputs, output) -> None:
    v, kernels = inputs
    ctx.save_for_backward(v, *kernels)


def _backward(ctx, grad: Tensor):
    v, *kernels = ctx.saved_tensors
    grad_v, *grads = _chain_backward(grad, v, kernels)
    return grad_v, grads


def _keep_twice(ctx, inputs, output) -> None:
    grad, v, kernels = inputs
    ctx.save_for_backward(grad, v, *kernels)


def _backward_twice(ctx, cotangents: list[Tensor]):
    """Second derivatives are rare: through plain operations."""
    grad, v, *kernels = ctx.saved_tensors
    with torch.enable_grad():
        first = [grad, v, *kernels]
        first = [x.detach().requires_grad_() for x in first]
        out = chain_reference(first[1], first[2:])
        grads = torch.autograd.grad(out, first[1:], first[0], create_graph=True)
    second = torch.autograd.grad(grads, first, cotangents, allow_unused=True)
    return second[0], second[1], list(second[2:])


_chain.register_autograd(_backward, setup_context=_keep)
_chain_backward.register_autograd(_backward_twice, setup_context=_keep_twice)
