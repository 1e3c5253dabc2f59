"""Linear maps and feed-forward blocks of which every token has its own, as batched products.

A loop over modules makes one small product per token and as many in the backward pass; here all
are one batched product, tokens first: (N, B, c). On the CPU the large results lie in memory that is
used again, because first touching fresh pages costs as much as a tenth of the products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.pages import large_empty

__all__ = ["TokenFeedForward", "TokenMaps"]


class TokenMaps(nn.Module):
    """y_i = x_i W_i + b_i: (N, B, in) -> (N, B, out).

    Args:
        tokens: N.
    """

    def __init__(self, tokens: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tokens, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(tokens, outputs))
        nn.init.normal_(self.weight, std=(2 / (inputs + outputs)) ** 0.5)

    def forward(self, x: Float[Tensor, "n b i"]) -> Float[Tensor, "n b o"]:
        if works_in_blocks(x):
            return _Maps.apply(x, self.weight, self.bias)  # type: ignore[no-any-return]
        return _plain_maps(x, self.weight, self.bias)


class TokenFeedForward(nn.Module):
    """GELU(x W1_i + b1_i) W2_i + b2_i with the exact GELU: (N, B, dim) -> (N, B, dim)."""

    def __init__(self, tokens: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = TokenMaps(tokens, dim, hidden)
        self.down = TokenMaps(tokens, hidden, dim)

    def forward(self, x: Float[Tensor, "n b c"]) -> Float[Tensor, "n b c"]:
        up, down = self.up, self.down
        if works_in_blocks(x):
            return _FeedForward.apply(x, up.weight, up.bias, down.weight, down.bias)  # type: ignore[no-any-return]
        return down(F.gelu(up(x)))


def _plain_maps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], x, weight)


def _plain_feed_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return _plain_maps(F.gelu(_plain_maps(x, w1, b1)), w2, b2)


def _mapped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out = large_empty((*x.shape[:2], weight.shape[2]), x)
    return torch.baddbmm(bias[:, None], x, weight, out=out)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b, out=large_empty((*a.shape[:2], b.shape[2]), a))


class _Maps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _mapped(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), needed = outer, ctx.needs_input_grad
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(differentiable_gradients(_plain_maps, (x, weight, bias), needed, grad))
        return (
            _product(grad, weight.transpose(1, 2)) if needed[0] else None,
            _product(x.transpose(1, 2), grad) if needed[1] else None,
            grad.sum(1) if needed[2] else None,
        )


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        hidden = _mapped(x, w1, b1)
        active = torch.ops.aten.gelu.out(hidden, out=large_empty(hidden.shape, x))
        ctx.save_for_backward(x, w1, b1, w2, b2, hidden, active)
        return _mapped(active, w2, b2)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = outer
        *inputs, hidden, active = ctx.saved_tensors
        if torch.is_grad_enabled():
            needed = ctx.needs_input_grad
            return tuple(differentiable_gradients(_plain_feed_forward, inputs, needed, grad))
        x, w1, _, w2, _ = inputs
        inner = _product(grad, w2.transpose(1, 2))
        torch.ops.aten.gelu_backward.grad_input(inner, hidden, grad_input=inner)
        return (
            _product(inner, w1.transpose(1, 2)),
            _product(x.transpose(1, 2), inner),
            inner.sum(1),
            _product(active.transpose(1, 2), grad),
            grad.sum(1),
        )
