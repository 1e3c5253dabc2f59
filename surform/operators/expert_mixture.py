"""Perceptrons with one hidden layer on points: one, or several mixed by gates."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.pages import large_empty
from surform.operators.expert_blocks import ACTIVATIONS, BlockedMixture
from surform.operators.native_mixture import NativeMixture, mixes_natively

__all__ = ["ExpertMixture"]


class ExpertMixture(nn.Module):
    """sum_i g_i E_i(x), E_i(x) = down_i(activation(up_i(x))), every expert evaluated everywhere.

    Args:
        hidden: width between the two maps of an expert.
        experts: how many; one alone needs no gate.
        out: width of the result (None: dim).
        recompute: keep no hidden values for the backward pass (CPU): less memory, more time.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        experts: int = 1,
        *,
        out: int | None = None,
        activation: str = "gelu",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        out = dim if out is None else out
        self.activation, self.recompute = activation, recompute
        # rows of these are channels that go in: so the products of the forward pass read them
        self.up_weight = nn.Parameter(torch.empty(experts, dim, hidden))
        self.up_bias = nn.Parameter(torch.empty(experts, hidden))
        self.down_weight = nn.Parameter(torch.empty(experts, hidden, out))
        self.down_bias = nn.Parameter(torch.empty(experts, out))
        for value, width in zip(self.parameters(), (dim, dim, hidden, hidden), strict=True):
            nn.init.uniform_(value, -(width**-0.5), width**-0.5)  # as nn.Linear does

    def forward(
        self, x: Float[Tensor, "*b c"], gates: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b o"]:
        """gates: weights of the experts at every point; None for a single expert.

        On the CPU it runs in cache-sized blocks of points, by native kernels where they serve.
        """
        weights = (self.up_weight, self.up_bias, self.down_weight, self.down_bias)
        if not works_in_blocks(x) or x.dtype != self.up_weight.dtype:
            return _plain(self.activation, x, gates, *weights)
        given = (x, *weights) if gates is None else (x, gates, *weights)
        trains = torch.is_grad_enabled() and any(t.requires_grad for t in given)
        keep = trains and not self.recompute
        return _Mixture.apply(self.activation, keep, x, gates, *weights)  # type: ignore[no-any-return]


def _plain(
    activation: str,
    x: Tensor,
    gates: Tensor | None,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """All experts as one wide pair of maps, the gates applied to the hidden values."""
    wide = up.transpose(1, 2).flatten(0, 1)  # (m h, c)
    hidden = ACTIVATIONS[activation].function(F.linear(x, wide, up_bias.flatten()))
    back = down.flatten(0, 1).t()  # (o, m h)
    if gates is None:
        return F.linear(hidden, back, down_bias[0])
    gated = hidden.unflatten(-1, (len(up), -1)) * gates.to(hidden.dtype).unsqueeze(-1)
    return F.linear(gated.flatten(-2), back) + F.linear(gates, down_bias.t())


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activation: str, keep: bool, x: Tensor, gates: Tensor | None, *weights: Tensor
    ) -> Tensor:
        up, rows = weights[0], x.numel() // x.shape[-1]
        raw = large_empty((len(up), rows, up.shape[2]), x) if keep else None
        ctx.activation = activation
        ctx.save_for_backward(x, gates, raw, *weights)
        y = _engine(activation, x, gates, weights).forward(raw)
        return y.reshape(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, raw, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, None, *_differentiable(ctx, x, gates, weights, outer[0]))
        engine = _engine(ctx.activation, x, gates, weights)
        dx, dgates, sums = engine.backward(raw, _rows(outer[0]))
        dgates = None if dgates is None else dgates.view_as(gates)
        return (None, None, dx.view(x.shape), dgates, *sums)


def _engine(
    activation: str, x: Tensor, gates: Tensor | None, weights: Any
) -> BlockedMixture | NativeMixture:
    rows, shares = _rows(x), None if gates is None else _rows(gates)
    if mixes_natively(activation, rows, weights[0]):
        return NativeMixture(rows, shares, list(weights))
    return BlockedMixture(ACTIVATIONS[activation], rows, shares, list(weights))


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _differentiable(
    ctx: Any, x: Tensor, gates: Tensor | None, weights: list[Tensor], outer: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again."""
    needed = list(ctx.needs_input_grad[2:])
    if gates is not None:
        return differentiable_gradients(
            lambda *values: _plain(ctx.activation, *values), [x, gates, *weights], needed, outer
        )
    found = differentiable_gradients(
        lambda x, *w: _plain(ctx.activation, x, None, *w),
        [x, *weights],
        [needed[0], *needed[2:]],
        outer,
    )
    return [found[0], None, *found[1:]]
