"""Values -> kernel integral -> norm -> projection of one sample, in blocks and head by head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from surform.attention.slabs import contract
from surform.layers.scratch import group_size, scratch
from surform.layers.tokenwise import token_blocks
from surform.operators.out_norm import OutNorm

__all__ = ["HeadwiseForward", "integrals", "row_blocks"]


class HeadwiseForward:
    """One sample: u (*grid, c), values (h, d, c), outs (h, d, o), `kept` (h, 1 + axes, *grid, d).

    A head's slab (*grid, d) is contracted in two buffers that take turns, or into `kept`. When
    parallel, outs has one entry per head and axis, and so have the norm's statistics.
    `run` leaves `mean` and `scale` of the norm, which broadcast against (h, *grid, d).
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        norm: OutNorm,
        parallel: bool,
        u: Tensor,
        values: Tensor,
        outs: Tensor,
        kept: Tensor | None,
    ) -> None:
        self.norm, self.parallel, self.kept = norm, parallel, kept
        self.values, self.outs = values, outs
        self.grid, self.rows = u.shape[:-1], u.reshape(-1, u.shape[-1])

    def run(self, kernels: list[Tensor]) -> Tensor:
        """y (*grid, o)."""
        norm, outs = self.norm, self.outs
        shape = (*self.grid, self.values.shape[1])
        axes = len(kernels)
        slots = axes + 1 if self.parallel else 1
        size = len(self.values) if self.kept is not None else group_size(slots, shape, self.rows)
        y = self.rows.new_zeros(len(self.rows), outs.shape[-1])
        means, squares = [], []
        for start in range(0, len(self.values), size):
            heads = range(start, min(start + size, len(self.values)))
            slabs = self._slabs(heads, slots, shape)
            results = []
            found = integrals(self.rows, self.values, kernels, heads, slabs, self.parallel)
            for memory, states in zip(slabs, found, strict=True):
                for q in states:
                    if self.kept is None and q is slabs[-1][-1] and not self.parallel:
                        q = memory[0].copy_(q)  # the next head overwrites the shared buffer
                    mean, square = _moments(norm, q)
                    means.append(mean)
                    squares.append(square)
                    results.append(q.view(len(self.rows), -1))
            first = start * axes if self.parallel else start
            self._project(y, results, outs[first : first + len(results)], means, squares)
        return self._finish(y, torch.stack(means), torch.stack(squares))

    def _slabs(self, heads: range, slots: int, shape: Sequence[int]) -> list[list[Tensor]]:
        """Memory per head; the last entry of a chain's two is shared."""
        if self.kept is not None:
            return [list(self.kept[h]) for h in heads]
        memory = scratch(len(heads) * slots + 1, shape, self.rows)
        if self.parallel:
            return [memory[i * slots : (i + 1) * slots] for i in range(len(heads))]
        return [[memory[i], memory[-1]] for i in range(len(heads))]

    def _project(
        self,
        y: Tensor,
        results: list[Tensor],
        outs: Tensor,
        means: list[Tensor],
        squares: list[Tensor],
    ) -> None:
        """y += sum over heads of the normalised (over_heads: of the raw) results times outs."""
        if not self.norm.over_heads:
            mean, square = (torch.stack(t[-len(results) :]) for t in (means, squares))
            count = results[0].numel() // square[0].numel()
            outs = _scale(self.norm, square, count).flatten(1)[..., None] * outs
            y -= (mean.flatten(1)[..., None] * outs).sum((0, 1))
        for block in row_blocks(self.rows):
            part = y[block]
            for q, out in zip(results, outs, strict=True):
                part.addmm_(q[block], out)

    def _finish(self, y: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        norm, outs = self.norm, self.outs
        count = len(self.rows) * outs.shape[1] // square[0].numel()
        y = y.view(*self.grid, -1)
        if not norm.over_heads:
            self.mean, self.scale = mean, _scale(norm, square, count)
            return y
        self.mean = mean.mean(0, keepdim=True)
        spread = count * (mean - self.mean).square()
        square = (square + spread).sum(0, keepdim=True)
        self.scale = _scale(norm, square, count * len(outs))
        return y.sub_(self.mean[0] * outs.sum((0, 1))).mul_(self.scale[0])


def integrals(
    rows: Tensor,
    values: Tensor,
    kernels: list[Tensor],
    heads: range,
    slabs: list[list[Tensor]],
    parallel: bool,
) -> Iterator[list[Tensor]]:
    """Per head its integrals (*grid, d): one, or one per axis when parallel.

    slabs: per head [values, ...]; a chain goes through them in turn, again and again if need be.
    """
    for block in row_blocks(rows):
        part = rows[block]
        for h, (v, *_) in zip(heads, slabs, strict=True):
            torch.mm(part, values[h].t(), out=v.view(len(rows), -1)[block])
    for h, memory in zip(heads, slabs, strict=True):
        if parallel:
            for axis, kernel in enumerate(kernels):
                contract(kernel[h], memory[0], axis, memory[axis + 1])
            yield memory[1 : len(kernels) + 1]
            continue
        for axis, kernel in enumerate(kernels):
            before, after = memory[axis % len(memory)], memory[(axis + 1) % len(memory)]
            contract(kernel[h], before, axis, after)
        yield [memory[len(kernels) % len(memory)]]


def row_blocks(rows: Tensor) -> list[slice]:
    """Blocks of rows for products between tokens and heads."""
    return list(token_blocks(len(rows), 2 * rows.shape[1], rows.element_size()))


def _moments(norm: OutNorm, q: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of q (*grid, d) and the sum of squares about it, over the norm's dims, kept."""
    if norm.keep_features:
        mean = q.mean(norm.grid_dims(q.ndim - 1), keepdim=True)
        return mean, (q - mean).square_().sum(norm.grid_dims(q.ndim - 1), keepdim=True)
    inner = tuple(range(1, q.ndim))
    count = q[0].numel()
    mean = q.mean(inner, keepdim=True).double()
    raw = torch.linalg.vector_norm(q, dim=inner, keepdim=True).double().square()
    square = (raw - count * mean.square()).clamp(min=0)
    if not norm.keep_first:
        common = mean.mean(0, keepdim=True)
        square = (square + count * (mean - common).square()).sum(0, keepdim=True)
        mean = common
    return mean.to(q.dtype), square.to(q.dtype)


def _scale(norm: OutNorm, square: Tensor, count: int) -> Tensor:
    return (square / norm.degrees(count) + norm.eps).rsqrt()
