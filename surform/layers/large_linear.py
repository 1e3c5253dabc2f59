"""A linear map whose large results lie in memory that is used again from step to step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.pages import large_empty

__all__ = ["LargeLinear"]


class LargeLinear(nn.Linear):
    """nn.Linear; on the CPU fresh pages for its result would cost as much as the product."""

    def forward(self, input: Float[Tensor, "*tokens c"]) -> Float[Tensor, "*tokens o"]:
        if not works_in_blocks(input) or self.weight.dtype != input.dtype:
            return super().forward(input)
        return _Product.apply(input, self.weight, self.bias)  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1])
        out = large_empty((len(rows), len(weight)), x)
        if bias is None:
            torch.mm(rows, weight.t(), out=out)
        else:
            torch.addmm(bias, rows, weight.t(), out=out)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():
            inputs = [x, weight] if bias is None else [x, weight, bias]
            found = differentiable_gradients(F.linear, inputs, needed[: len(inputs)], outer[0])
            return (*found, None)[:3]
        rows, g = x.reshape(-1, x.shape[-1]), outer[0].reshape(-1, len(weight))
        dx = None
        if needed[0]:
            dx = torch.mm(g, weight, out=large_empty(rows.shape, x)).view(x.shape)
        dweight = g.t() @ rows if needed[1] else None
        return dx, dweight, g.sum(0) if needed[2] else None
