"""Very many short sequences: batched products around exponentials that stay in the cache, for CPUs.

Nothing is reduced along rows of a dozen numbers, which costs more than the products: the sums of
the weights come out of the product with the values, through a row of ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from surform.attention.batch_last import blocks, largest, refuse_second_order, supports_blocks
from surform.attention.dispatch import Call, register

__all__: list[str] = []

_NUMBERS = 1 << 18  # scores per block: 1 MB of float32
_LEAST_BATCH = 16
_FEWEST_SCORES = 150  # of a sequence: below, einsum's copies cost less than the calls here
_LONGEST = 96
_LARGEST = 30.0  # exponentials of scores up to this size need no shift, in any precision


def _pays(call: Call) -> str | None:
    (_, _, n, b), m = call.shapes["q"], call.shapes["k"][2]
    if max(n, m) > _LONGEST or n * m < _FEWEST_SCORES:
        return f"pays for {_FEWEST_SCORES} scores and up to {_LONGEST} tokens per sequence"
    return None if b >= _LEAST_BATCH else f"pays for {_LEAST_BATCH} sequences or more"


@register("softmax_batch_last", "products", priority=20, supports=supports_blocks, pays=_pays)
def _products(q: Tensor, k: Tensor, v: Tensor, scale: float, second_order: bool) -> Tensor:
    """Batched products around exponentials that stay in the cache."""
    return _Products.apply(q, k, v, scale)  # type: ignore[no-any-return]


class _Products(torch.autograd.Function):
    """With e the exponentials and t their sums, out = (e v) / t and w = e / t."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        heads, _, n, batch = q.shape
        out = torch.empty(heads, v.shape[1], n, batch, dtype=q.dtype)
        total = torch.empty(heads, batch, 1, n, dtype=q.dtype)
        work = _Work(q, k, v, scale)
        for part in work.parts(batch):
            e = work.load(part, q, k, v)
            sums = torch.bmm(work.v, e, out=work.out).unflatten(0, (heads, -1))  # (h, b, e + 1, n)
            total[:, part] = sums[:, :, -1:]
            out[..., part] = sums[:, :, :-1].div_(sums[:, :, -1:]).permute(0, 2, 3, 1)
        ctx.save_for_backward(q, k, v, out, total)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """ds = w (g v^T - g . out)."""
        refuse_second_order("products")
        q, k, v, out, total = ctx.saved_tensors
        level = (outer[0] * out).sum(1)
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
        work = _Work(q, k, v, ctx.scale)
        slopes = torch.empty_like(work.scores)
        for part in work.parts(q.shape[-1]):
            e = work.load(part, q, k, v)
            t = total[:, part]
            g = outer[0][..., part].permute(0, 3, 1, 2).contiguous().div_(t).flatten(0, 1)
            below = (level[..., part].permute(0, 2, 1).unsqueeze(2) / t).flatten(0, 1)
            ds = torch.bmm(work.v[:, :-1].transpose(1, 2), g, out=slopes[: len(e)])
            ds.sub_(below).mul_(e)
            _store(torch.bmm(work.k.transpose(1, 2), ds).mul_(ctx.scale), dq[..., part])
            _store(torch.bmm(work.q, ds.transpose(1, 2)), dk[..., part])
            _store(torch.bmm(g, e.transpose(1, 2)), dv[..., part])
        return dq, dk, dv, None


class _Work:
    """Buffers of one block, head and sequence as one axis r.

    q (r, d, n) times the scale, k (r, m, d), v (r, e + 1, m) above a row of ones, scores (r, m, n).
    """

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> None:
        (self.heads, d, n, batch), m, self.scale = q.shape, k.shape[2], scale
        self.size = max(1, min(_NUMBERS // max(1, self.heads * n * m), batch))
        rows = self.heads * self.size
        self.buffers = (
            q.new_empty(rows, d, n),
            q.new_empty(rows, m, d),
            q.new_ones(rows, v.shape[1] + 1, m),
            q.new_empty(rows, m, n),
            q.new_empty(rows, v.shape[1] + 1, n),
        )
        self.q, self.k, self.v, self.scores, self.out = self.buffers

    def parts(self, batch: int) -> Iterator[slice]:
        return blocks(batch, self.size)

    def load(self, part: slice, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Fill the buffers; exp(k q^T), (r, m, n).

        Of one query's exponentials any factor goes into the sum that divides.
        """
        rows = self.heads * (part.stop - part.start)
        self.q, self.k, self.v, self.scores, self.out = (x[:rows] for x in self.buffers)
        sizes = (self.heads, -1)
        torch.mul(q[..., part].permute(0, 3, 1, 2), self.scale, out=self.q.unflatten(0, sizes))
        self.k.unflatten(0, sizes).copy_(k[..., part].permute(0, 3, 2, 1))
        self.v.unflatten(0, sizes)[:, :, :-1].copy_(v[..., part].permute(0, 3, 1, 2))
        s = torch.bmm(self.k, self.q, out=self.scores)
        bound = q.shape[1] * largest(self.q) * largest(self.k)
        if not bound <= _LARGEST and not largest(s) <= _LARGEST:
            s.sub_(s.amax(1, keepdim=True))
        return s.exp_()


def _store(value: Tensor, target: Tensor) -> None:
    """(r, d, n) into (h, d, n, b)."""
    target.copy_(value.unflatten(0, (target.shape[0], -1)).permute(0, 2, 3, 1))
