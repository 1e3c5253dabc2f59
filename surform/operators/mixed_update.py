"""The update of a factorised block from its normalised field: axial attention, then an MLP layer.

residual + GELU(norm(axial(u to_value^T)) to_out^T) second^T, natively or by torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform.attention.dispatch import requested
from surform.layers.blocking import differentiable_gradients
from surform.layers.pages import large_empty
from surform.layers.tokenwise import tokenwise
from surform.operators.headwise import mix_axes, mix_plainly
from surform.operators.native_mixing import Kept, Mixer, mixes_natively
from surform.operators.native_mixing_backward import MixerGradient
from surform.operators.out_norm import OutNorm

__all__ = ["mixed_update"]

_NUMBERS = 1 << 24  # of a few samples' contracted values


def mixed_update(
    u: Float[Tensor, "b *grid c"],
    to_value: Float[Tensor, "inner c"],
    to_out: Float[Tensor, "o features"],
    second: Float[Tensor, "p o"],
    kernels: Sequence[Float[Tensor, "b h _ _"]],
    norm: OutNorm,
    residual: Float[Tensor, "b *grid p"] | None = None,
    *,
    parallel: bool = False,
    recompute: bool = False,
) -> Float[Tensor, "b *grid p"]:
    """See `mix_axes` for to_value, to_out, parallel and recompute."""
    heads = kernels[0].shape[1]
    natively = mixes_natively(u, to_value, to_out, second, heads)
    if not natively or requested("axial") is not None:
        mixed = mix_axes(u, to_value, to_out, kernels, norm, parallel, recompute)
        return tokenwise(F.gelu, mixed, (), second, residual)
    inputs = (u, to_value, to_out, second, *kernels)
    given = inputs if residual is None else (residual, *inputs)
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return _Update.apply(norm, not recompute, residual, *inputs)  # type: ignore[no-any-return]
    y = large_empty((*u.shape[:-1], len(second)), u)
    for group in _sample_groups(u, to_out.shape[1]):
        _mixer(inputs, group).run(norm, None if residual is None else residual[group], y[group])
    return y


def _sample_groups(u: Tensor, features: int) -> list[slice]:
    """Samples that are worked on together where nothing is kept."""
    each = u[0].numel() // u.shape[-1] * features
    size = max(1, _NUMBERS // each)
    return [slice(i, min(i + size, len(u))) for i in range(0, len(u), size)]


def _mixer(inputs: Sequence[Tensor], group: slice) -> Mixer:
    u, to_value, to_out, second, *kernels = inputs
    return Mixer(u[group], to_value, to_out, second, [k[group] for k in kernels])


def _plain(
    norm: OutNorm, u: Tensor, to_value: Tensor, to_out: Tensor, second: Tensor, *kernels: Tensor
) -> Tensor:
    values = to_value.unflatten(0, (kernels[0].shape[1], -1))
    outs, parallel = to_out.t().unflatten(0, (-1, values.shape[1])), to_out.shape[1] > len(to_value)
    return F.linear(F.gelu(mix_plainly(norm, parallel, u, values, outs, *kernels)), second)


class _Update(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, norm: OutNorm, keep: bool, residual: Tensor | None, *inputs: Tensor
    ) -> Tensor:
        u, _, to_out, second, *_ = inputs
        y = large_empty((*u.shape[:-1], len(second)), u)
        mixed = large_empty((*u.shape[:-1], len(to_out)), u)
        # nothing but `mixed` outlives a group of samples, unless all is kept
        groups = [slice(None)] if keep else _sample_groups(u, to_out.shape[1])
        found = []
        for group in groups:
            own = None if residual is None else residual[group]
            found.append(_mixer(inputs, group).run(norm, own, y[group], mixed[group], keep))
        mean, scale = (torch.cat([x[i] for x in found]) for i in (1, 2))
        ctx.norm, ctx.residual, ctx.inputs = norm, residual is not None, len(inputs)
        ctx.save_for_backward(*inputs, *found[0][0], mixed, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # under activation checkpointing they are given once
        inputs, tensors = saved[: ctx.inputs], saved[ctx.inputs :]
        to_residual = outer[0] if ctx.residual else None
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                lambda *x: _plain(ctx.norm, *x), inputs, ctx.needs_input_grad[3:], outer[0]
            )
            return (None, None, to_residual, *found)
        gradient = MixerGradient(_mixer(inputs, slice(None)), ctx.norm, Kept(*tensors))
        return (None, None, to_residual, *gradient.run(outer[0]))
