"""Values of a few samples and their contraction with the kernels, all heads at once, on the CPU.

Kernels of different axes commute. Those of all axes but the first are contracted in blocks of the
first axis, while a block's values are hot in the cache; there features stand before points,
(b, h, d, points), so that each product spans all heads and many rows. In memory the first axis
stands in front, (b, x, heads, d, rest): its kernel is contracted afterwards, in pieces of features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from surform.layers.pages import large_empty
from surform.layers.scratch import scratch
from surform.operators.axis_products import contract

__all__ = ["KernelIntegral", "sample_groups"]

_BLOCK_BYTES = 1 << 21  # of all heads' values in a block; smaller ones cost more calls than misses


def sample_groups(u: Tensor, inner: int) -> list[slice]:
    """Samples that are worked on together: as many as fit into a block, at least one."""
    each = u[0].numel() // u.shape[-1] * inner * u.element_size()
    size = max(1, _BLOCK_BYTES // max(1, each))
    return [slice(i, min(i + size, len(u))) for i in range(0, len(u), size)]


class KernelIntegral:
    """u (b, x, *rest, c), values (h, d, c), per axis kernels (b, h, n, n).

    Its tensors: `partial` (b, x, h, d, rest), the values contracted with all kernels but the
    first axis's; `results` (b, x, h, d, rest), contracted with all. When parallel, partial is the
    values and results (b, x, h axes, d, rest) their products with each kernel alone.
    """

    def __init__(
        self, parallel: bool, u: Tensor, values: Tensor, kernels: Sequence[Tensor]
    ) -> None:
        self.parallel, self.axes = parallel, len(kernels) if parallel else 1
        self.first = kernels[0]
        self.others = [k.flatten(0, 1) for k in kernels[1:]]  # (b h, n, n)
        self.u = u.flatten(2, -2) if u.ndim > 3 else u[:, :, None]  # (b, x, rest, c)
        self.grid, self.rest = u.shape[1:-1], self.u.shape[2]
        self.samples, self.heads, self.width = len(u), *values.shape[:2]
        self.weight = values.flatten(0, 1).expand(self.samples, -1, -1)  # (b, h d, c)
        self.blocks = self._blocks()
        size = self._piece_size()
        self.piece_width = min(size, self.width)  # in features
        self.pieces = self._pieces(max(1, size // self.width))
        heads, features = self.pieces[0]
        self.ahead = (heads.stop - heads.start) * (features.stop - features.start)

    def _blocks(self) -> list[slice]:
        """Ranges of the first axis."""
        each = self.samples * self.heads * self.width * self.rest * self.u.element_size()
        step, n = max(1, _BLOCK_BYTES // each), self.grid[0]
        return [slice(i, min(i + step, n)) for i in range(0, n, step)]

    def _piece_size(self) -> int:
        """Features in a piece: a divisor of the features of a head, or several heads' features."""
        each = self.grid[0] * self.rest * self.u.element_size()
        size = max(1, _BLOCK_BYTES // 4 // each)
        if size >= self.width:
            return size
        return next(f for f in range(size, 0, -1) if self.width % f == 0)

    def _pieces(self, heads: int) -> list[tuple[slice, slice]]:
        """Ranges of heads and of features of one sample: some heads, or a part of one."""
        step = self.piece_width
        return [
            (slice(h, min(h + heads, self.heads)), slice(f, f + step))
            for h in range(0, self.heads, heads)
            for f in range(0, self.width, step)
        ]

    def memory(self, overlap: bool) -> tuple[Tensor, Tensor]:
        """For partial and results; overlap: partial need not outlive the results."""
        if not overlap or self.parallel:
            return self._empty(self.heads), self._empty(self.heads * self.axes)
        # Piece by piece, the results follow into memory that was just read, so still in the cache.
        memory = self._rows(self.heads * self.width + self.ahead)
        return self._slabs(memory[:, self.ahead * self.rest :]), self._slabs(memory)

    def gradient_memory(self) -> tuple[Tensor, Tensor]:
        """For the gradients of partial, made last, and of results, made first."""
        first, second = self.memory(overlap=True)
        return (first, second) if self.parallel else (second, first)

    def _empty(self, heads: int) -> Tensor:
        """Uninitialised memory (b, x, heads, d, rest).

        Rows of the first axis are one piece more apart where there are several: a power of two
        apart, the rows of a piece would share a few sets of the cache and evict each other.
        """
        apart = self.ahead if len(self.pieces) > 1 else 0
        return self._slabs(self._rows(heads * self.width + apart), heads)

    def _rows(self, features: int) -> Tensor:
        return large_empty((self.samples * self.grid[0], features * self.rest), self.u)

    def _slabs(self, rows: Tensor, heads: int | None = None) -> Tensor:
        heads = self.heads if heads is None else heads
        rows = rows[:, : heads * self.width * self.rest]
        return rows.view(self.samples, self.grid[0], heads, self.width, self.rest)

    def filled_memory(self) -> tuple[Tensor, Tensor]:
        """partial and results."""
        partial, results = self.memory(overlap=False)
        self.run_others(partial, results)
        for _ in self.run_first(partial, results):
            pass
        return partial, results

    def block_scratch(self, block: slice, count: int) -> list[Tensor]:
        """Work memory (b, h, d, points of a block)."""
        points = (block.stop - block.start) * self.rest
        return scratch(self.u, *[(self.samples, self.heads, self.width, points)] * count)

    def make_values(self, block: slice, out: Tensor) -> None:
        """out (b, h, d, points) <- values of a block."""
        rows = self.u[:, block].flatten(1, 2)
        torch.bmm(self.weight, rows.transpose(1, 2), out=out.flatten(1, 2))

    def along(self, x: Tensor, axis: int) -> Tensor:
        """(b, h, d, points) of a block -> (b h, before, n, after) around an axis but the first."""
        after = math.prod(self.grid[axis + 1 :])
        return x.view(self.samples * self.heads, -1, self.grid[axis], after)

    def contract(self, axis: int, x: Tensor, out: Tensor, transpose: bool = False) -> None:
        """out <- x of a block contracted with an axis but the first."""
        kernel = self.others[axis - 1]
        kernel = kernel.transpose(1, 2) if transpose else kernel
        contract(kernel, self.along(x, axis), self.along(out, axis))

    def features_first(self, x: Tensor) -> Tensor:
        """View (b, h, d, x, rest) of (b, x, h, d, rest), the layout within blocks."""
        return x.permute(0, 2, 3, 1, 4)

    def run_others(self, partial: Tensor, results: Tensor) -> None:
        """Values and all axes but the first."""
        for block in self.blocks:
            x, spare = self.block_scratch(block, 2)
            self.make_values(block, x)
            for axis in range(len(self.grid) - 1, 0, -1):
                self.contract(axis, x, spare)
                if self.parallel:
                    self._store(spare, results[:, block, axis :: self.axes])
                else:
                    x, spare = spare, x
            self._store(x, partial[:, block])

    def _store(self, x: Tensor, target: Tensor) -> None:
        target = self.features_first(target)
        target.copy_(x.view(target.shape))

    def load(self, source: Tensor, out: Tensor) -> None:
        """out (b, h, d, points) <- a block (b, x, h, d, rest)."""
        source = self.features_first(source)
        out.view(source.shape).copy_(source)

    def run_first(self, partial: Tensor, results: Tensor) -> Iterator[tuple[int, slice, slice]]:
        """The first axis, piece by piece: yields sample, heads and features of what was made."""
        target = results[:, :, :: self.axes]
        for b in range(self.samples):
            for heads, features in self.pieces:
                x, out = (piece(t[b], heads, features) for t in (partial, target))
                torch.bmm(self.first[b, heads], x, out=out)
                yield b, heads, features


def piece(x: Tensor, heads: slice, features: slice) -> Tensor:
    """Some heads and features of (x, h, d, rest) as (h, x, d rest)."""
    return x[:, heads, features].transpose(0, 1).flatten(2)
