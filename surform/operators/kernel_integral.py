"""Values of a few samples and their contraction with the kernels, all heads at once, on the CPU.

Features stand before points, (b, h, d, points), so that most products span all heads or many rows.
Kernels of different axes commute: those of all axes but the first are contracted in blocks of the
first axis while a block's values are hot in the cache, the first axis's afterwards, in blocks of
features.
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

_BLOCK_BYTES = 1 << 20  # of one tensor in a block: a few fit into a 2 MB L2 cache


def sample_groups(u: Tensor, inner: int) -> list[slice]:
    """Samples that are worked on together: as many as fit into a block, at least one."""
    each = u[0].numel() // u.shape[-1] * inner * u.element_size()
    size = max(1, _BLOCK_BYTES // max(1, each))
    return [slice(i, min(i + size, len(u))) for i in range(0, len(u), size)]


class KernelIntegral:
    """u (b, x, *rest, c), values (h, d, c), per axis kernels (b, h, n, n).

    Its tensors: `partial` (b, h, d, points), the values contracted with all kernels but the
    first axis's; `results` (b, h, 1, d, points), contracted with all. When parallel, partial is
    the values and results (b, h, axes, d, points) holds their products with each kernel alone.
    """

    def __init__(
        self, parallel: bool, u: Tensor, values: Tensor, kernels: Sequence[Tensor]
    ) -> None:
        self.parallel, self.axes = parallel, len(kernels) if parallel else 1
        self.kernels = [k.flatten(0, 1) for k in kernels]  # (b h, n, n)
        self.grid, self.rows = u.shape[1:-1], u.flatten(1, -2)
        self.samples, self.points = self.rows.shape[:2]
        self.heads, self.width = values.shape[:2]
        self.weight = values.flatten(0, 1).expand(self.samples, -1, -1)  # (b, h d, c)
        self.rest = self.points // self.grid[0]
        self.blocks = self._blocks()
        self.pieces = self._pieces()

    def _blocks(self) -> list[slice]:
        """Ranges of points: whole indices of the first axis."""
        inner = self.samples * self.heads * self.width * self.rest * self.rows.element_size()
        step, n = max(1, _BLOCK_BYTES // inner), self.grid[0]
        return [slice(i * self.rest, min(i + step, n) * self.rest) for i in range(0, n, step)]

    def _pieces(self) -> list[tuple[slice, slice]]:
        """Ranges of slabs (b h) and features: a few slabs, or a part of one."""
        slabs, each = self.samples * self.heads, self.points * self.rows.element_size()
        many = max(1, _BLOCK_BYTES // 2 // each)
        size, step = max(1, many // self.width), min(many, self.width)
        return [
            (slice(s, min(s + size, slabs)), slice(f, min(f + step, self.width)))
            for s in range(0, slabs, size)
            for f in range(0, self.width, step)
        ]

    def first_indices(self, points: slice) -> slice:
        """Of the first axis, for one of the blocks."""
        return slice(points.start // self.rest, points.stop // self.rest)

    def empty(self, axes: int) -> Tensor:
        """Uninitialised memory (b, h, axes, d, points)."""
        memory = self._rows(self.samples * self.heads * axes * self.width)
        memory = memory.view(self.samples, self.heads, axes, self.width, -1)
        return memory[..., : self.points]

    def memory(self, overlap: bool) -> tuple[Tensor, Tensor]:
        """For partial and results; overlap: partial need not outlive the results."""
        if overlap and not self.parallel:
            partial, results = self.empty_pair()
            return partial, results[:, :, None]
        return self.empty(1)[:, :, 0], self.empty(self.axes)

    def filled_memory(self) -> tuple[Tensor, Tensor]:
        partial, results = self.memory(overlap=False)
        self.run_first(partial, results)
        for _ in self.run_last(partial, results):
            pass
        return partial, results

    def empty_pair(self) -> tuple[Tensor, Tensor]:
        """Memory (b, h, d, points) twice; piece by piece, the second may be made from the first.

        They overlap, a piece apart: what is written is still in the cache, as it was just read.
        """
        slabs, features = self.pieces[0]
        ahead = (slabs.stop - slabs.start) * (features.stop - features.start)
        count = self.samples * self.heads * self.width
        memory = self._rows(count + ahead)
        first, second = (
            part.view(self.samples, self.heads, self.width, -1)[..., : self.points]
            for part in (memory[ahead:], memory[:count])
        )
        return first, second

    def _rows(self, count: int) -> Tensor:
        """Rows of all points; never a whole number of pages apart where blocks are parts of rows.

        Else the parts would fall into the same few sets of the cache and evict each other.
        """
        line = 64 // self.rows.element_size()
        apart = len(self.blocks) > 1 and self.points % (8 * line) == 0
        return large_empty((count, self.points + line * apart), self.rows)

    def along(self, x: Tensor, axis: int) -> Tensor:
        """(b, h, d, some points) -> (b h, before, n, after) around an axis."""
        n, after = self.grid[axis], math.prod(self.grid[axis + 1 :])
        if axis == 0:
            return x.flatten(0, 1).unflatten(-1, (n, after))
        return x.view(self.samples * self.heads, -1, n, after)

    def block_shape(self, points: slice) -> tuple[int, int, int, int]:
        return self.samples, self.heads, self.width, points.stop - points.start

    def make_values(self, points: slice, out: Tensor) -> None:
        """Values (b, h, d, points) of a range of points."""
        torch.bmm(self.weight, self.rows[:, points].transpose(1, 2), out=out.flatten(1, 2))

    def contract_block(self, axis: int, x: Tensor, out: Tensor, transpose: bool = False) -> None:
        kernel = self.kernels[axis]
        kernel = kernel.transpose(1, 2) if transpose else kernel
        contract(kernel, self.along(x, axis), self.along(out, axis))

    def run_first(self, partial: Tensor, results: Tensor) -> None:
        """All axes but the first."""
        for points in self.blocks:
            x, spare = scratch(self.rows, *[self.block_shape(points)] * 2)
            self.make_values(points, x)
            for axis in range(len(self.grid) - 1, 0, -1):
                self.contract_block(axis, x, spare)
                if self.parallel:
                    results[:, :, axis, :, points] = spare
                else:
                    x, spare = spare, x
            partial[..., points] = x

    def run_last(self, partial: Tensor, results: Tensor) -> Iterator[tuple[slice, slice]]:
        """The first axis, piece by piece: yields the ranges of slabs and features just made."""
        source, target = self.along(partial, 0), self.along(results[:, :, 0], 0)
        for piece in self.pieces:
            contract(self.kernels[0][piece[0]], source[piece], target[piece])
            yield piece
