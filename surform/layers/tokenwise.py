"""Functions of each token alone, applied in cache-sized blocks and recomputed for the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.blocking import differentiable_gradients, works_in_blocks

__all__ = ["hidden_gradients", "token_blocks", "tokenwise"]

_BLOCK_BYTES = 1 << 19  # of the widest tensor in a block: several fit into a 2 MB L2 cache


def tokenwise(
    function: Callable[..., Tensor],
    x: Tensor,
    parameters: Sequence[Tensor],
    weight: Tensor,
    residual: Tensor | None = None,
) -> Tensor:
    """function(x, *parameters) weight^T (+ residual) for a `function` of each row of x alone.

    x: (..., c); weight: (o, hidden); residual: (..., o). On the CPU the result is made block by
    block, so that no hidden tensor of full size exists; the backward pass recomputes it.
    `function` must be pure and take rows (tokens, c) as well as (..., c).
    """
    if not works_in_blocks(x):
        out = F.linear(function(x, *parameters), weight)
        return out if residual is None else residual + out
    return _Tokenwise.apply(function, x, weight, residual, *parameters)  # type: ignore[no-any-return]


def token_blocks(rows: int, width: int, itemsize: int) -> Iterator[slice]:
    """Consecutive slices of `rows` rows, each about half a megabyte of `width` numbers per row."""
    size = max(64, _BLOCK_BYTES // max(1, width * itemsize))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def hidden_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    weight: Tensor,
    outer: Tensor,
    weight_gradient: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of function(*inputs) weight^T for the inputs; the weight's is added in place."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in inputs]
        hidden = function(*leaves)
    weight_gradient.addmm_(outer.t(), hidden.detach())
    return torch.autograd.grad(hidden, leaves, outer @ weight)


class _Tokenwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[..., Tensor],
        x: Tensor,
        weight: Tensor,
        residual: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.function, ctx.has_residual = function, residual is not None
        ctx.save_for_backward(x, weight, *parameters)
        rows = x.reshape(-1, x.shape[-1])
        out = x.new_empty(rows.shape[0], weight.shape[0])
        base = None if residual is None else residual.reshape(out.shape)
        for block in token_blocks(rows.shape[0], x.shape[-1], x.element_size()):
            hidden = function(rows[block], *parameters)
            if base is None:
                torch.mm(hidden, weight.t(), out=out[block])
            else:
                torch.addmm(base[block], hidden, weight.t(), out=out[block])
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = outer
        x, weight, *parameters = ctx.saved_tensors
        to_residual = grad if ctx.has_residual else None
        if torch.is_grad_enabled():
            needed = [*ctx.needs_input_grad[1:3], *ctx.needs_input_grad[4:]]
            first, second, *rest = differentiable_gradients(
                lambda x, w, *p: F.linear(ctx.function(x, *p), w),
                [x, weight, *parameters],
                needed,
                grad,
            )
            return (None, first, second, to_residual, *rest)
        rows, upstream = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        dx, dweight = torch.empty_like(rows), torch.zeros_like(weight)
        sums = [torch.zeros_like(p) for p in parameters]
        for block in token_blocks(rows.shape[0], x.shape[-1], x.element_size()):
            first, *rest = hidden_gradients(
                ctx.function, [rows[block], *parameters], weight, upstream[block], dweight
            )
            dx[block] = first
            for total, part in zip(sums, rest, strict=True):
                total.add_(part)
        return (None, dx.view(x.shape), dweight, to_residual, *sums)
