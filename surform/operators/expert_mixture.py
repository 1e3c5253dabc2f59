"""Perceptrons with one hidden layer on points: one, or several mixed by gates."""

from __future__ import annotations

from collections.abc import Sequence
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
        self,
        x: Float[Tensor, "*b s"],
        gates: Float[Tensor, "*b m"] | None = None,
        first: nn.Linear | None = None,
    ) -> Float[Tensor, "*b o"]:
        """On the CPU in cache-sized blocks of points, by native kernels where they serve.

        Args:
            gates: weights of the experts at every point; None for a single expert.
            first: activation(first(x)) takes the place of x.
        """
        act, up = self.activation, self.up_weight
        blocks = works_in_blocks(x) and x.dtype == up.dtype
        if first is not None and not (blocks and mixes_natively(act, x, up)):
            x, first = ACTIVATIONS[act].function(first(x)), None
        entry = (None, None) if first is None else (first.weight.t(), first.bias)
        given: tuple[Any, ...] = (
            x,
            gates,
            *entry,
            up,
            self.up_bias,
            self.down_weight,
            self.down_bias,
        )
        if not blocks:
            return _plain(act, *given)
        trains = any(t is not None and t.requires_grad for t in given) and torch.is_grad_enabled()
        return _Mixture.apply(act, trains and not self.recompute, *given)  # type: ignore[no-any-return]


def _plain(
    activation: str,
    x: Tensor,
    gates: Tensor | None,
    first: Tensor | None,
    first_bias: Tensor | None,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """All experts as one wide pair of maps, the gates applied to the hidden values."""
    act = ACTIVATIONS[activation].function
    if first is not None:
        x = act(F.linear(x, first.t(), first_bias))
    hidden = act(F.linear(x, up.transpose(1, 2).flatten(0, 1), up_bias.flatten()))
    back = down.flatten(0, 1).t()  # (o, m h)
    if gates is None:
        return F.linear(hidden, back, down_bias[0])
    gated = hidden.unflatten(-1, (len(up), -1)) * gates.to(hidden.dtype).unsqueeze(-1)
    return F.linear(gated.flatten(-2), back) + F.linear(gates, down_bias.t())


class _Mixture(torch.autograd.Function):
    """Arguments: activation, whether to keep hidden values, then those of `_plain`."""

    @staticmethod
    def forward(ctx: Any, activation: str, keep: bool, *given: Any) -> Tensor:
        x, up = given[0], given[4]
        rows = x.numel() // x.shape[-1]
        raw = large_empty((len(up), rows, up.shape[2]), x) if keep else None
        ctx.activation = activation
        ctx.save_for_backward(raw, *given)
        y = _engine(activation, given).forward(raw)
        return y.reshape(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        raw, *given = ctx.saved_tensors
        if torch.is_grad_enabled():
            needed = ctx.needs_input_grad[2:]
            return (None, None, *_differentiable(ctx.activation, given, needed, outer[0]))
        x, gates, first = given[:3]
        dx, dgates, sums = _engine(ctx.activation, given).backward(raw, _rows(outer[0]))
        dgates = None if dgates is None else dgates.view_as(gates)
        entry = [] if first is not None else [None, None]
        return (None, None, dx.view(x.shape), dgates, *entry, *sums)


def _engine(activation: str, given: Sequence[Any]) -> BlockedMixture | NativeMixture:
    x, gates, first, first_bias, *weights = given
    rows, shares = _rows(x), None if gates is None else _rows(gates)
    if mixes_natively(activation, rows, weights[0]):
        entry = None if first is None else (first, first_bias)
        return NativeMixture(rows, shares, entry, weights)
    return BlockedMixture(ACTIVATIONS[activation], rows, shares, weights)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _differentiable(
    activation: str, given: Sequence[Tensor | None], needed: Sequence[bool], outer: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again."""
    there = [i for i, value in enumerate(given) if value is not None]

    def plain(*values: Tensor) -> Tensor:
        places: list[Any] = [None] * len(given)
        for i, value in zip(there, values, strict=True):
            places[i] = value
        return _plain(activation, *places)

    inputs = [value for value in given if value is not None]
    found = differentiable_gradients(plain, inputs, [needed[i] for i in there], outer)
    gradients: list[Tensor | None] = [None] * len(given)
    for i, value in zip(there, found, strict=True):
        gradients[i] = value
    return gradients
