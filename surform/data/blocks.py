"""Which windows lie in the same chunks of the files, and the chunks that were read last."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surform.data.source import FieldSource

__all__ = ["BlockCache", "Blocks", "Span", "plan_blocks"]

# Frames of a field from a window's start on; None for a field without time.
Span = tuple[int, int] | None


@dataclass(frozen=True)
class Blocks:
    """Samples and starts that are read together.

    Args:
        first: of each sample of the source, the first one in its block, `(samples,)`.
        count: samples in a block, at most.
        starts: starts in a block.
        gain: how many times more is read where windows are read one by one.
        nbytes: of a block in memory, at most.
    """

    first: np.ndarray
    count: int
    starts: int
    gain: float
    nbytes: int

    def numbers(self, samples: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """A number per window, the same for those of one block."""
        most = int(starts.max(initial=0)) // self.starts + 1
        return self.first[samples] * most + starts // self.starts


def plan_blocks(
    source: FieldSource, starts: int, budget: int, itemsize: int, samples: range
) -> Blocks:
    """Whole chunks of every field, and as many frames more as fit into `budget` bytes.

    Args:
        starts: windows per sample.
        samples: a block holds no others.
    """
    layout, selection = source.layout, source.selection
    chunks = [source.chunk(name) for name in selection.fields]
    count = min(max(wide for wide, _ in chunks), len(samples))
    frames = max(long for _, long in chunks)
    reach = selection.window_frames - 1
    points = sum(math.prod(layout.shape_of(n)) for n in selection.fields if n in layout.timed)
    still = sum(math.prod(layout.shape_of(n)) for n in selection.fields if n not in layout.timed)

    def nbytes(width: int) -> int:
        return count * itemsize * (points * min(width + reach, layout.frames) + still)

    width = min(frames, starts)
    while width < starts and nbytes(2 * width) <= budget:
        width = min(2 * width, starts)
    alone = count * (frames + reach)  # a window touches this much on average
    together = -(-(width + reach) // frames) * frames / width
    first = np.maximum(source.first_of_groups(count), samples.start)
    return Blocks(first, count, width, alone / together, nbytes(width))


class BlockCache:
    """The blocks that were read last, of a source whose windows come in an order that uses them.

    Args:
        capacity: how many are kept.
    """

    def __init__(
        self, source: FieldSource, blocks: Blocks, samples: range, dtype: np.dtype, capacity: int
    ) -> None:
        self.source, self.blocks, self.samples = source, blocks, samples
        self.dtype, self.capacity = dtype, capacity
        self._kept: OrderedDict[tuple[int, int], dict[str, np.ndarray]] = OrderedDict()

    def read(self, sample: int, start: int, spans: Mapping[str, Span]) -> dict[str, np.ndarray]:
        """Of each field the frames `start + span`, or its values where the span is None.

        Args:
            spans: always the same, for one cache.
        """
        blocks = self.blocks
        first, block = int(blocks.first[sample]), start // blocks.starts
        kept = self._kept.get((first, block))
        if kept is None:
            kept = self._kept[first, block] = self._load(first, block, spans)
            while len(self._kept) > self.capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end((first, block))
        row, shift = sample - first, start - block * blocks.starts
        return {
            name: kept[name][row]
            if span is None
            else kept[name][row, shift : shift + _length(span)]
            for name, span in spans.items()
        }

    def _load(self, first: int, block: int, spans: Mapping[str, Span]) -> dict[str, np.ndarray]:
        blocks, frames = self.blocks, self.source.layout.frames
        end = int(np.searchsorted(blocks.first, first, side="right"))
        samples = range(first, min(end, self.samples.stop))
        found = {}
        for name, span in spans.items():
            if span is None:
                values = self.source.read_many(name, samples)
            else:
                begin = block * blocks.starts + span[0]
                end = min(begin + blocks.starts - 1 + _length(span), frames)
                values = self.source.read_many(name, samples, begin, end - begin)
            found[name] = np.asarray(values, self.dtype)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}


def _length(span: Sequence[int]) -> int:
    return span[1] - span[0]
