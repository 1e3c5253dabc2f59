"""How Pathformer sends samples to experts and joins what these say.

Joined is the logarithm of a weighted sum of exponentials. The largest term is taken out first, so
that nothing overflows: the published form takes the exponentials of the outputs as they are, which
in float32 is infinite beyond 88.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surform.layers.blocking import differentiable_gradients, works_in_blocks

__all__ = ["Paths", "combine"]

_NUMBERS = 1 << 16  # per piece: a quarter of a megabyte of float32
VANISHED = math.log(torch.finfo(torch.float64).eps)  # stands for a sum that underflows to zero


class Paths:
    """The (sample, expert) pairs of a batch, sorted by expert, then by sample.

    experts: (b, k), which experts each sample takes; count: how many experts there are.
    """

    def __init__(self, experts: Tensor, count: int) -> None:
        self.batch, self.k = experts.shape
        flat = experts.t().reshape(-1)  # pair j * b + i is sample i's j-th expert
        sample = torch.arange(self.batch, device=flat.device).repeat(self.k)
        self.order = torch.argsort(flat * self.batch + sample)
        self.inverse = torch.empty_like(self.order)
        self.inverse[self.order] = torch.arange(len(flat), device=flat.device)
        self.sizes: list[int] = torch.bincount(flat, minlength=count).tolist()

    def dispatch(self, u: Float[Tensor, "*c b"]) -> tuple[Tensor, ...]:
        """The columns of the samples that each expert gets, in their order."""
        every = u.unsqueeze(-2).expand(*u.shape[:-1], self.k, self.batch).flatten(-2)
        return _Reorder.apply(every, self.order, self.inverse).split(self.sizes, dim=-1)  # type: ignore[no-any-return]

    def collect(self, outputs: Sequence[Tensor]) -> Float[Tensor, "*c k b"]:
        """What the experts gave, sample by sample."""
        joined = _Reorder.apply(torch.cat(tuple(outputs), dim=-1), self.inverse, self.order)
        return joined.unflatten(-1, (self.k, self.batch))  # type: ignore[no-any-return]


class _Reorder(torch.autograd.Function):
    """Columns in another order: both directions are gathers, cheaper than scattered sums."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        # torch gathers columns of a matrix several times faster than a tensor's last axis
        return x.flatten(0, -2).index_select(1, order).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(outer[0], inverse, order), None, None  # type: ignore[return-value]


def combine(
    outputs: Float[Tensor, "*c k b"], log_gates: Float[Tensor, "k b"]
) -> Float[Tensor, "*c b"]:
    """log(sum over k of gate * exp(output)), in float32 at least.

    Where that sum is zero in its precision the published code puts 2.2e-16 in its place.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    log_gates = log_gates.to(outputs.dtype)
    kinds = torch.finfo(outputs.dtype)
    half_of_smallest = math.log(kinds.smallest_normal) + math.log(kinds.eps / 2)
    if works_in_blocks(outputs) and outputs.ndim > 2:
        joined: Tensor = _LogSum.apply(outputs, log_gates)
        if not joined.amin() < half_of_smallest:  # as good as always
            return joined
    else:
        joined = _log_sum(outputs, log_gates)
    return torch.where(joined < half_of_smallest, VANISHED, joined)


def _log_sum(outputs: Tensor, log_gates: Tensor) -> Tensor:
    return torch.logsumexp(outputs + log_gates, dim=-2)


class _LogSum(torch.autograd.Function):
    """`_log_sum` in cache-sized pieces; the weights are made again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, log_gates: Tensor) -> Tensor:
        joined = outputs.new_empty(*outputs.shape[:-2], outputs.shape[-1])
        for x, total in _pieces(outputs, joined):
            z = x + log_gates
            torch.maximum(z[:, 0], z[:, -1], out=total)
            for middle in z.unbind(1)[1:-1]:
                torch.maximum(total, middle, out=total)
            z.sub_(total.unsqueeze(1)).exp_()
            total.add_(z.sum(1).log_())
        ctx.save_for_backward(outputs, log_gates, joined)
        return joined

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        outputs, log_gates, joined = ctx.saved_tensors
        grad = outer[0].contiguous()
        if torch.is_grad_enabled():
            needed = ctx.needs_input_grad
            return tuple(differentiable_gradients(_log_sum, [outputs, log_gates], needed, grad))
        slopes, gate_slopes = torch.empty_like(outputs), torch.zeros_like(log_gates)
        for x, total, g, slope in _pieces(outputs, joined, grad, slopes):
            torch.add(x, log_gates, out=slope).sub_(total.unsqueeze(1)).exp_()
            gate_slopes.add_(slope.mul_(g.unsqueeze(1)).sum(0))
        return slopes, gate_slopes


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching rows of (..., k, b) and (..., b) tensors, as (rows, k, b) and (rows, b)."""
    ranks = [x.ndim for x in tensors]
    widest = tensors[0]
    rows = max(1, _NUMBERS // (widest.shape[-2] * widest.shape[-1]))
    flat = [
        x.flatten(0, -3 if rank == max(ranks) else -2)
        for x, rank in zip(tensors, ranks, strict=True)
    ]
    return zip(*(x.split(rows) for x in flat), strict=True)
