"""Softmax attention with dropout in cache-sized blocks of scores, for CPUs.

torch has no fused CPU kernel with dropout: its composite writes every score five times and draws
one random number for each. Here a block of scores stays in the cache from the product that makes it
to the one that uses it, as in FlashAttention (Dao et al., arXiv 2205.14135); kept for the gradient
are one byte per score, which tells the dropped ones, and one number per query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surform.attention.dispatch import Call

__all__ = ["blocks_pay", "blocks_support", "softmax_blocks"]

_BLOCK = 2**18  # scores in a block: one megabyte of float32
_FEW = 2**15  # scores per sample; below, the loop over samples costs more than it saves
_LEVELS = 2**16  # one 16-bit number per score; four of them from one draw


def blocks_support(call: Call) -> str | None:
    """For `register`."""
    if call.device != "cpu":
        return "is written for a CPU's caches"
    if call.dtype.itemsize < 4:
        return "has float32 and float64 only"
    if call.has("mask") or call.has("bias") or call.has("causal"):
        return "has no mask, no bias and no causal order"
    return None


def blocks_pay(call: Call) -> str | None:
    """For `register`."""
    if torch.compiler.is_compiling():
        return "a compiled program holds plain torch operations only"
    if not call.has("dropout_p"):
        return "pays with dropout only"
    if math.prod(call.shapes["q"][1:3]) * call.shapes["k"][2] < _FEW:
        return f"pays from {_FEW} scores per sample"
    return None


def softmax_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """Scores, softmax, dropout and products block by block, recomputed for the gradient.

    The share to drop is rounded to the nearest multiple of 2**-16, and the kept ones are scaled by
    what is then dropped: the mean is exact.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return _Blockwise.apply(q, k, v, scale, round(dropout_p * _LEVELS))  # type: ignore[no-any-return]


class _Block(NamedTuple):
    """One sample, some of its heads, some of their queries."""

    sample: int
    heads: slice
    queries: slice

    def of(self, x: Tensor) -> Tensor:
        return x[self.sample, self.heads, self.queries]

    def whole(self, x: Tensor) -> Tensor:
        """All tokens of these heads, for keys and values."""
        return x[self.sample, self.heads]

    def add_(self, x: Tensor, weights: Tensor, rows: Tensor, factor: float) -> None:
        """Add factor * weights^T rows to what these heads' keys have in `x`; the first one sets."""
        part = self.whole(x)
        part.baddbmm_(
            weights.transpose(-2, -1), rows, beta=float(self.queries.start > 0), alpha=factor
        )

    def room(self, memory: Tensor, keys: int) -> Tensor:
        """(heads, queries, keys) at the start of `memory`."""
        shape = (self.heads.stop - self.heads.start, self.queries.stop - self.queries.start, keys)
        return memory[: shape[0] * shape[1] * keys].view(shape)


def _walk(b: int, h: int, n: int, m: int) -> Iterator[_Block]:
    """All heads and all queries of one sample after the other, as many at once as fit."""
    if not n * m:
        return
    queries = min(n, max(1, _BLOCK // m))
    heads = min(h, max(1, _BLOCK // (n * m)))
    for sample in range(b):
        for first in range(0, h, heads):
            for start in range(0, n, queries):
                yield _Block(
                    sample,
                    slice(first, min(first + heads, h)),
                    slice(start, min(start + queries, n)),
                )


def _largest(h: int, n: int, m: int) -> int:
    """Scores of the largest block of `_walk`."""
    return min(h * n * m, max(_BLOCK, m))


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, dropped: int) -> Tensor:
        (b, h, n, _), m = q.shape, k.shape[2]
        out = _heads_inside(v, n, n * m > 0)  # merging heads then copies nothing
        total = q.new_empty(b, h, n, 1)  # log of the sum of exponentials
        kept = torch.empty((b, h, n, m) if dropped else 0, dtype=torch.uint8)
        memory = q.new_empty(_largest(h, n, m))
        bits = torch.empty(-(-memory.numel() // 4), dtype=torch.int64)
        share = _LEVELS / (_LEVELS - dropped)
        for block in _walk(b, h, n, m):
            weights = block.room(memory, m)
            keys = block.whole(k).transpose(-2, -1)
            torch.baddbmm(weights, block.of(q), keys, beta=0, alpha=scale, out=weights)
            highest = weights.amax(-1, keepdim=True)
            weights.sub_(highest).exp_()
            sums = weights.sum(-1, keepdim=True)
            torch.add(highest, sums.log(), out=block.of(total))
            if dropped:
                _draw(bits, dropped, block.of(kept))
                weights.mul_(block.of(kept))
            torch.bmm(weights, block.whole(v), out=block.of(out))
            block.of(out).mul_(share / sums)
        ctx.save_for_backward(q, k, v, out, total, kept)
        ctx.scale, ctx.dropped = scale, dropped
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), scale = outer, ctx.scale
        q, k, v, out, total, kept = ctx.saved_tensors
        share = _LEVELS / (_LEVELS - ctx.dropped)
        if torch.is_grad_enabled():
            factor = kept.to(q.dtype) * share if ctx.dropped else None
            inputs = q, k, v
            return (*_differentiable(inputs, scale, factor, grad, ctx.needs_input_grad), None, None)
        (b, h, n, _), m = q.shape, k.shape[2]
        to_q, to_k, to_v = (_heads_inside(x, x.shape[2], n * m > 0) for x in (q, k, v))
        memory = [q.new_empty(_largest(h, n, m)) for _ in range(2)]
        for block in _walk(b, h, n, m):
            weights, slope = (block.room(part, m) for part in memory)
            queries, keys, upstream = block.of(q), block.whole(k), block.of(grad)
            lowered = (-block.of(total)).expand_as(weights)
            torch.baddbmm(lowered, queries, keys.transpose(-2, -1), alpha=scale, out=weights)
            weights.exp_()
            values = block.whole(v).transpose(-2, -1)
            torch.baddbmm(slope, upstream, values, beta=0, alpha=share * scale, out=slope)
            if ctx.dropped:
                slope.mul_(block.of(kept))
            inner = (upstream * block.of(out)).sum(-1, keepdim=True)
            slope.sub_(inner.mul_(scale)).mul_(weights)
            torch.bmm(slope, keys, out=block.of(to_q))
            block.add_(to_k, slope, queries, 1.0)
            if ctx.dropped:
                weights.mul_(block.of(kept))
            block.add_(to_v, weights, upstream, share)
        return to_q, to_k, to_v, None, None


def _draw(bits: Tensor, dropped: int, kept: Tensor) -> None:
    """1 in `kept` but for a share of dropped / 2**16, 0 there."""
    count = kept.numel()
    bits = bits[: -(-count // 4)].random_(-(2**63), None)
    torch.ge(bits.view(torch.int16)[:count].view(kept.shape), dropped - _LEVELS // 2, out=kept)


def _heads_inside(like: Tensor, tokens: int, filled: bool) -> Tensor:
    """(b, h, tokens, d), heads inside of tokens; zeros unless blocks will fill it."""
    b, h, _, d = like.shape
    make = like.new_empty if filled else like.new_zeros
    return make(b, tokens, h, d).transpose(1, 2)


def _differentiable(
    inputs: Sequence[Tensor],
    scale: float,
    factor: Tensor | None,
    grad: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of q, k, v by plain operations, to be differentiated again."""
    q, k, v = inputs = [x.view_as(x) for x in inputs]  # nodes of their own: q may have made k
    weights = torch.softmax(q @ k.transpose(-2, -1) * scale, dim=-1)
    result = (weights if factor is None else weights * factor) @ v
    wanted = [x for x, need in zip(inputs, needed, strict=False) if need]
    found = iter(torch.autograd.grad(result, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed[:3]]
