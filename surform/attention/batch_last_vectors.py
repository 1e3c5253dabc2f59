"""Few queries over very many short sequences: vector operations along the batch, for CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from surform.attention.batch_last import blocks, largest, refuse_second_order, supports_blocks
from surform.attention.dispatch import Call, register

__all__: list[str] = []

_NUMBERS = 1 << 16  # scores per block: a quarter of a megabyte of float32
_MOST_QUERIES = 4
_LEAST_BATCH = 64
_LARGEST = 30.0  # exponentials of scores up to this size need no shift, in any precision


def _pays(call: Call) -> str | None:
    heads, _, n, b = call.shapes["q"]
    if heads * n > _MOST_QUERIES:
        return f"pays for {_MOST_QUERIES} queries and heads at most"
    return None if b >= _LEAST_BATCH else f"pays for {_LEAST_BATCH} sequences or more"


@register("softmax_batch_last", "vectors", priority=30, supports=supports_blocks, pays=_pays)
def _vectors(q: Tensor, k: Tensor, v: Tensor, scale: float, second_order: bool) -> Tensor:
    """Vector operations along the batch, a block of scores in the cache."""
    return _Vectors.apply(q, k, v, scale)  # type: ignore[no-any-return]


class _Vectors(torch.autograd.Function):
    """With e the exponentials and t their sums, out = (e v) / t and w = e / t."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        out = torch.empty(v.shape[0], v.shape[1], *q.shape[2:], dtype=q.dtype)
        total = torch.empty(q.shape[0], *q.shape[2:], dtype=q.dtype)
        for part in _parts(q, k):
            e = _exponentials(q[..., part], k[..., part], scale)
            t = torch.sum(e, 2, out=total[..., part])
            _sum_products(e, v[..., part], 2, out[..., part])
            out[..., part].div_(t.unsqueeze(1))
        ctx.save_for_backward(q, k, v, out, total)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """ds = w (g v^T - g . out)."""
        refuse_second_order("vectors")
        q, k, v, out, total = ctx.saved_tensors
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
        for part in _parts(q, k):
            a, b = q[..., part], k[..., part]
            e = _exponentials(a, b, ctx.scale)
            g = outer[0][..., part] / total[..., part].unsqueeze(1)
            _sum_products(e, g, 1, dv[..., part])
            level = (g * out[..., part]).sum(1)
            ds = _products(g, v[..., part]).sub_(level.unsqueeze(2)).mul_(e).mul_(ctx.scale)
            _sum_products(ds, b, 2, dq[..., part])
            _sum_products(ds, a, 1, dk[..., part])
        return dq, dk, dv, None


def _parts(q: Tensor, k: Tensor) -> Iterator[slice]:
    heads, _, n, batch = q.shape
    return blocks(batch, max(_LEAST_BATCH, _NUMBERS // max(1, heads * n * k.shape[2])))


def _products(q: Tensor, k: Tensor) -> Tensor:
    """q k^T: (h, d, n, b), (h, d, m, b) -> (h, n, m, b)."""
    scores = q[:, 0].unsqueeze(2) * k[:, 0].unsqueeze(1)
    for c in range(1, q.shape[1]):
        scores.addcmul_(q[:, c].unsqueeze(2), k[:, c].unsqueeze(1))
    return scores


def _exponentials(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """exp(q k^T scale); of one query's, any factor goes into the sum that divides."""
    s = _products(q * scale, k)
    if not q.shape[1] * scale * largest(q) * largest(k) <= _LARGEST and s.numel():
        s.sub_(s.amax(2, keepdim=True))
    return s.exp_()


def _sum_products(w: Tensor, x: Tensor, axis: int, out: Tensor) -> None:
    """Sum of w (h, n, m, b) times x (h, e, ., b) over m (axis 2) or n (axis 1): (h, e, ., b)."""
    terms, width = w.shape[axis], x.shape[1]
    if terms > 2 * width:  # then a product and a reduction per channel are fewer steps
        work = torch.empty_like(w)
        for c in range(width):
            torch.mul(w, x[:, c].unsqueeze(3 - axis), out=work)
            torch.sum(work, axis, out=out[:, c])
        return
    for i, (weight, value) in enumerate(zip(w.unbind(axis), x.unbind(2), strict=True)):
        weight, value = weight.unsqueeze(1), value.unsqueeze(2)  # (h, 1, ., b), (h, e, 1, b)
        if i:
            out.addcmul_(weight, value)
        else:
            torch.mul(weight, value, out=out)
