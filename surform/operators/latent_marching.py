"""Time steps in latent space: every point's state is advanced by one small MLP and read off."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.pages import large_empty
from surform.layers.tokenwise import token_blocks
from surform.operators.group_moments import group_moments
from surform.operators.latent_marching_backward import MarchGradient
from surform.operators.native_marching import NativeMarch, marches_natively
from surform.operators.native_marching_backward import NativeMarchGradient
from surform.operators.point_head import PointHead

__all__ = ["LatentMarching"]


class LatentMarching(nn.Module):
    """u_l = w_l + MLP(LayerNorm(w_l)), w_l = u_{l-1} + e_l, and one frame per state u_l.

    Args:
        latent: channels of the state; dim: hidden width of the MLP and of the head.
        max_steps: how many step embeddings e_l there are.
        norm_groups: groups of the head's GroupNorm.
    """

    def __init__(
        self, latent: int, dim: int, out_channels: int, *, max_steps: int, norm_groups: int
    ) -> None:
        super().__init__()
        self.step_embedding = nn.Parameter(torch.randn(max_steps, latent) * 0.02)
        self.norm = nn.LayerNorm(latent)
        self.up = nn.Linear(latent, dim)
        self.down = nn.Linear(dim, latent)
        self.head = PointHead(
            latent, dim, out_channels, norm_groups=norm_groups, linear_groups=8, hidden=dim // 2
        )

    def forward(
        self, state: Float[Tensor, "b *grid c"], steps: int
    ) -> Float[Tensor, "b steps *grid o"]:
        """The frames of the next `steps` steps."""
        parameters = [self.step_embedding[:steps], *self._step_parameters(), *self.head.tensors()]
        if not works_in_blocks(state):
            return self.compute(state, *parameters)
        trains = torch.is_grad_enabled() and any(t.requires_grad for t in (state, *parameters))
        if marches_natively(state, self.up.weight, self.head):
            if trains:
                return _NativeMarch.apply(self, state, *parameters)  # type: ignore[no-any-return]
            return NativeMarch(self.head, state, parameters).run(keep=False)[0]
        if trains:
            return _March.apply(self, state, *parameters)  # type: ignore[no-any-return]
        return _march(self, state, parameters, keep=False)[0]

    def compute(self, state: Tensor, embeddings: Tensor, *parameters: Tensor) -> Tensor:
        """The marching as a function of its parameters: any device, differentiable to any order."""
        *inner, weight, bias = parameters[:6]
        states = []
        for embedding in embeddings:
            state = state + embedding
            state = state + F.linear(self.hidden(state, *inner), weight, bias)
            states.append(state)
        stacked = torch.stack(states, 1)
        frames = self.head.compute(stacked.flatten(0, 1), *parameters[6:])
        return frames.unflatten(0, stacked.shape[:2])

    def _step_parameters(self) -> list[Tensor]:
        layers = (self.norm, self.up, self.down)
        return [t for layer in layers for t in (layer.weight, layer.bias)]

    @staticmethod
    def hidden(state: Tensor, *parameters: Tensor) -> Tensor:
        """GELU(up(LayerNorm(state)))."""
        scale, shift, weight, bias = parameters
        return F.gelu(F.linear(F.layer_norm(state, scale.shape, scale, shift), weight, bias))


def _march(
    module: LatentMarching, state: Tensor, parameters: list[Tensor], keep: bool
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Frames; with `keep` also the states u_1.. and the (mean, variance) of the head's groups."""
    embeddings, *step, scale, shift, grouped = parameters[:10]
    later, grid = parameters[10:], state.shape[1:-1]
    batch, latent = state.shape[0], state.shape[-1]
    rows = state.reshape(batch, -1, latent)
    frames = state.new_empty(batch, len(embeddings), rows.shape[1], later[-1].shape[0])
    states, moments = [], []
    now = torch.empty_like(rows)
    for index, embedding in enumerate(embeddings):
        before = rows if index == 0 else now
        if keep:
            now = large_empty(rows.shape, rows)
            states.append(now)
        for b in range(batch):
            mean, variance = _advance(module, before[b], now[b], embedding, step)
            moments.append(torch.stack((mean, variance)))
            weight, bias = module.head.fold(mean, variance, scale, shift, grouped)
            for block in token_blocks(rows.shape[1], latent, state.element_size()):
                frames[b, index, block] = module.head.read_rows(now[b, block], weight, bias, *later)
    shape = (len(embeddings), batch, 2, -1)
    return frames.unflatten(2, grid), states, torch.stack(moments).view(shape)


def _advance(
    module: LatentMarching, before: Tensor, now: Tensor, embedding: Tensor, step: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """One step of one sample, now <- step(before); mean and variance of the head's groups."""
    *inner, weight, bias = step
    blocks = []
    for block in token_blocks(before.shape[0], before.shape[1], before.element_size()):
        part = now[block]
        torch.add(before[block], embedding, out=part)
        hidden = module.hidden(part, *inner)
        part.add_(bias).addmm_(hidden, weight.t())
        mean = part.mean(0)
        blocks.append((len(part), mean, (part - mean).square_().sum(0)))
    counts, means, squares = zip(*blocks, strict=True)
    groups = module.head.norm.num_groups
    return group_moments(list(counts), torch.stack(means), torch.stack(squares), groups)


class _March(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: LatentMarching, state: Tensor, *parameters: Tensor) -> Tensor:
        frames, states, moments = _march(module, state, list(parameters), keep=True)
        ctx.module = module
        ctx.save_for_backward(state, moments, *parameters, *states)
        return frames

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        state, moments, *rest = ctx.saved_tensors
        steps = len(moments)
        parameters, states = rest[:-steps], rest[-steps:]
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                ctx.module.compute, [state, *parameters], ctx.needs_input_grad[1:], outer[0]
            )
            return (None, *found)
        gradient = MarchGradient(ctx.module.head, parameters)
        rows = state.reshape(state.shape[0], -1, state.shape[-1])
        dstate = torch.zeros_like(rows)
        for b in range(len(rows)):
            now = [rows[b], *(one[b] for one in states)]
            for index in reversed(range(steps)):
                upstream = outer[0][b, index].reshape(rows.shape[1], -1)
                gradient.step_back(
                    dstate[b], now[index], now[index + 1], moments[index, b], upstream, index
                )
        return (None, dstate.view(state.shape), *gradient.sums)


class _NativeMarch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: LatentMarching, state: Tensor, *parameters: Tensor) -> Tensor:
        frames, kept = NativeMarch(module.head, state, parameters).run(keep=True)
        ctx.module = module
        ctx.save_for_backward(state, *parameters, *kept)
        return frames

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        state, *parameters, states, raw, moments = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = differentiable_gradients(
                ctx.module.compute, [state, *parameters], ctx.needs_input_grad[1:], outer[0]
            )
            return (None, *found)
        march = NativeMarch(ctx.module.head, state, parameters)
        return (None, *NativeMarchGradient(march, states, raw, moments).run(outer[0]))
