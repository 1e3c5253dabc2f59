"""Feed-forward maps of points, one or several mixed by gates, in cache-sized blocks on CPUs.

On the CPU no hidden tensor of full size exists: the backward pass makes the hidden values again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.scratch import scratch
from surform.layers.tokenwise import token_blocks

__all__ = ["ACTIVATIONS", "Activation", "ExpertMixture"]

_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function of numbers; `into(x, out)`, `slope_into(g, x, y)` overwrite their last or first
    argument with the values and with g times the derivative (y: the values at x)."""

    function: Callable[[Tensor], Tensor]
    into: Callable[[Tensor, Tensor], object]
    slope_into: Callable[[Tensor, Tensor, Tensor], object]


ACTIVATIONS = {
    "gelu": Activation(
        F.gelu,
        lambda x, out: _aten.gelu.out(x, out=out),
        lambda g, x, y: _aten.gelu_backward.grad_input(g, x, grad_input=g),
    ),
    "tanh": Activation(
        torch.tanh,
        lambda x, out: torch.tanh(x, out=out),
        lambda g, x, y: _aten.tanh_backward.grad_input(g, y, grad_input=g),
    ),
    "relu": Activation(
        F.relu,
        lambda x, out: torch.clamp(x, min=0, out=out),
        lambda g, x, y: _aten.threshold_backward.grad_input(g, y, 0, grad_input=g),
    ),
    "sigmoid": Activation(
        torch.sigmoid,
        lambda x, out: torch.sigmoid(x, out=out),
        lambda g, x, y: _aten.sigmoid_backward.grad_input(g, y, grad_input=g),
    ),
}


class ExpertMixture(nn.Module):
    """sum_i g_i E_i(x), E_i(x) = down_i(activation(up_i(x))), every expert evaluated everywhere.

    Args:
        hidden: width between the two maps of an expert.
        experts: how many; one alone needs no gate.
    """

    def __init__(self, dim: int, hidden: int, experts: int = 1, activation: str = "gelu") -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up_weight = nn.Parameter(torch.empty(experts, hidden, dim))
        self.up_bias = nn.Parameter(torch.empty(experts, hidden))
        self.down_weight = nn.Parameter(torch.empty(experts, dim, hidden))
        self.down_bias = nn.Parameter(torch.empty(experts, dim))
        for value, width in zip(self.parameters(), (dim, dim, hidden, hidden), strict=True):
            nn.init.uniform_(value, -(width**-0.5), width**-0.5)  # as nn.Linear does

    def forward(
        self, x: Float[Tensor, "*b c"], gates: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b c"]:
        """gates: weights of the experts at every point; None for a single expert."""
        weights = (self.up_weight, self.up_bias, self.down_weight, self.down_bias)
        if works_in_blocks(x) and x.dtype == self.up_weight.dtype:
            return _Mixture.apply(self.activation, x, gates, *weights)  # type: ignore[no-any-return]
        return _plain(self.activation, x, gates, *weights)


def _plain(
    activation: Activation,
    x: Tensor,
    gates: Tensor | None,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """All experts as one wide pair of maps, the gates applied to the hidden values."""
    hidden = activation.function(F.linear(x, up.flatten(0, 1), up_bias.flatten()))
    wide = down.transpose(0, 1).flatten(1)  # (c, m r)
    if gates is None:
        return F.linear(hidden, wide, down_bias[0])
    gated = hidden.unflatten(-1, (len(up), -1)) * gates.to(hidden.dtype).unsqueeze(-1)
    return F.linear(gated.flatten(-2), wide) + F.linear(gates, down_bias.t())


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        activation: Activation,
        x: Tensor,
        gates: Tensor | None,
        up: Tensor,
        up_bias: Tensor,
        down: Tensor,
        down_bias: Tensor,
    ) -> Tensor:
        ctx.activation = activation
        ctx.save_for_backward(x, gates, up, up_bias, down, down_bias)
        rows, weights = _rows(x), _rows(gates)
        out = x.new_empty(rows.shape)
        for part, (pre, hidden) in _blocks(rows, up.shape[1], 2):
            for i in range(len(up)):
                torch.addmm(up_bias[i], rows[part], up[i].t(), out=pre)
                activation.into(pre, hidden)
                _add_expert(out[part], hidden, down[i], down_bias[i], weights, part, i)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx, x, gates, weights, outer[0]))
        up, up_bias, down, down_bias = weights
        rows, shares, g = _rows(x), _rows(gates), _rows(outer[0])
        dx = torch.zeros_like(rows)
        dgates = None if shares is None else torch.empty_like(shares)
        sums = [torch.zeros_like(w) for w in weights]
        for part, (pre, hidden, slope) in _blocks(rows, up.shape[1], 3):
            for i in range(len(up)):
                torch.addmm(up_bias[i], rows[part], up[i].t(), out=pre)
                ctx.activation.into(pre, hidden)
                torch.mm(g[part], down[i], out=slope)
                outward = g[part]
                if shares is not None and dgates is not None:
                    share = shares[part, i : i + 1]
                    along = torch.einsum("nr,nr->n", hidden, slope)
                    torch.addmv(along, outward, down_bias[i], out=dgates[part, i])
                    outward = outward * share
                    slope.mul_(share)
                ctx.activation.slope_into(slope, pre, hidden)
                sums[2][i].addmm_(outward.t(), hidden)
                sums[3][i] += outward.sum(0)
                sums[0][i].addmm_(slope.t(), rows[part])
                sums[1][i] += slope.sum(0)
                dx[part].addmm_(slope, up[i])
        return (None, dx.view(x.shape), None if dgates is None else dgates.view_as(gates), *sums)


def _rows(x: Any) -> Any:
    return None if x is None else x.reshape(-1, x.shape[-1]).contiguous()


def _blocks(rows: Tensor, hidden: int, count: int) -> Iterator[tuple[slice, list[Tensor]]]:
    """Blocks of rows, each with `count` buffers of its hidden values."""
    for part in token_blocks(len(rows), hidden, rows.element_size()):
        yield part, scratch(rows, *[(part.stop - part.start, hidden)] * count)


def _add_expert(
    out: Tensor,
    hidden: Tensor,
    down: Tensor,
    bias: Tensor,
    gates: Tensor | None,
    part: slice,
    i: int,
) -> None:
    """out (+)= g_i (hidden down^T + bias); the first expert overwrites."""
    if gates is None:
        torch.addmm(bias, hidden, down.t(), out=out)
        return
    share = gates[part, i : i + 1]
    if i == 0:
        torch.addmm(bias, hidden, down.t(), out=out).mul_(share)
    else:
        out.addcmul_(torch.addmm(bias, hidden, down.t()), share)


def _differentiable(
    ctx: Any, x: Tensor, gates: Tensor | None, weights: list[Tensor], outer: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again."""
    needed = list(ctx.needs_input_grad[1:])
    if gates is None:
        found = differentiable_gradients(
            lambda x, *w: _plain(ctx.activation, x, None, *w),
            [x, *weights],
            [needed[0], *needed[2:]],
            outer,
        )
        return [found[0], None, *found[1:]]
    return differentiable_gradients(
        lambda *values: _plain(ctx.activation, *values), [x, gates, *weights], needed, outer
    )
