"""The feed-forward block on tensors whose first axis is the channel, so that tokens are columns.

On the CPU it runs in cache-sized blocks of columns, dropout included: no hidden tensor of full size
exists, and the backward pass makes hidden values and masks again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from surform.layers.blocking import differentiable_gradients, works_in_blocks
from surform.layers.hashed_noise import BLOCK, Noise, hashes

__all__ = ["feed_forward"]

_NUMBERS = BLOCK  # hidden numbers per block


def feed_forward(
    x: Float[Tensor, "c n"],
    up: tuple[Tensor, Tensor],
    down: tuple[Tensor, Tensor],
    dropout: float = 0.0,
) -> Float[Tensor, "c n"]:
    """x + down(dropout(gelu(up(x)))) of every column.

    Args:
        up: weight (hidden, c) and bias (hidden,); down: weight (c, hidden) and bias (c,).
        dropout: share of the hidden values dropped, always applied; pass 0 in eval mode.
    """
    if works_in_blocks(x) and (not dropout or hashes(x, dropout)) and len(up[0]) <= _NUMBERS:
        return _FeedForward.apply(x.contiguous(), *up, *down, dropout)  # type: ignore[no-any-return]
    return _plain(x, *up, *down, lambda hidden: F.dropout(hidden, dropout) if dropout else hidden)


def _plain(
    x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor, drop: Callable[[Tensor], Tensor]
) -> Tensor:
    hidden = drop(F.gelu(torch.addmm(b.unsqueeze(1), w, x)))
    return x + torch.addmm(c.unsqueeze(1), v, hidden)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor, p: float
    ) -> Tensor:
        size, columns = max(1, _NUMBERS // len(w)), x.shape[1]
        ctx.parts = [slice(start, min(start + size, columns)) for start in range(0, columns, size)]
        ctx.noise = Noise(len(ctx.parts), p, x.dtype) if p else None
        ctx.save_for_backward(x, w, b, v, c)
        out = x + c.unsqueeze(1)
        rows, lift = _with_ones(x), torch.cat((w, b.unsqueeze(1)), dim=1)
        scaled = v * (ctx.noise.scale if ctx.noise else 1.0)
        buffers = [x.new_empty(len(w) * size) for _ in range(2)]
        for block, part in enumerate(ctx.parts):
            pre, hidden = _views(buffers, len(w), part)
            torch.mm(lift, rows[:, part], out=pre)
            torch.ops.aten.gelu.out(pre, out=hidden)
            if ctx.noise:
                ctx.noise.mask_(hidden, ctx.noise.draw(block, pre))
            out[:, part].addmm_(scaled, hidden)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, w, b, v, c = ctx.saved_tensors
        grad, noise = outer[0].contiguous(), ctx.noise
        if torch.is_grad_enabled():
            needed = list(ctx.needs_input_grad[:5])
            drop = functools.partial(_mask, noise=noise, parts=ctx.parts)
            plain = functools.partial(_plain, drop=drop)
            return (*differentiable_gradients(plain, [x, w, b, v, c], needed, grad), None)
        rows, lift = _with_ones(x), torch.cat((w, b.unsqueeze(1)), dim=1)
        scale = noise.scale if noise else 1.0
        turned = (v * scale).t().contiguous()
        dx, dlift, dv = grad.clone(), torch.zeros_like(lift.t()), torch.zeros_like(v)
        buffers = [x.new_empty(len(w) * max(1, _NUMBERS // len(w))) for _ in range(4)]
        for block, part in enumerate(ctx.parts):
            pre, hidden, slope, bits = _views(buffers, len(w), part)
            torch.mm(lift, rows[:, part], out=pre)
            torch.ops.aten.gelu.out(pre, out=hidden)
            torch.mm(turned, grad[:, part], out=slope)
            if noise:
                noise.draw(block, bits)
                noise.mask_(hidden, bits)
                noise.mask_(slope, bits)
            dv.addmm_(grad[:, part], hidden.t())
            torch.ops.aten.gelu_backward.grad_input(slope, pre, grad_input=slope)
            dlift.addmm_(rows[:, part], slope.t())
            dx[:, part].addmm_(w.t(), slope)
        dw, db = dlift[:-1].t(), dlift[-1]
        return dx, dw, db, dv.mul_(scale), grad.sum(1), None


def _with_ones(x: Tensor) -> Tensor:
    """A row of ones below, which the bias multiplies."""
    return torch.cat((x, x.new_ones(1, x.shape[1])))


def _views(buffers: list[Tensor], rows: int, part: slice) -> list[Tensor]:
    """Contiguous (rows, columns of the part) at the buffers' beginnings."""
    columns = part.stop - part.start
    return [buffer[: rows * columns].view(rows, columns) for buffer in buffers]


def _mask(hidden: Tensor, noise: Noise | None, parts: list[slice]) -> Tensor:
    if noise is None:
        return hidden
    kept = torch.full_like(hidden, noise.scale)
    for block, part in enumerate(parts):
        values = kept[:, part].contiguous()
        kept[:, part] = noise.mask_(values, noise.draw(block, torch.empty_like(values)))
    return hidden * kept
