"""Shuffled batches of rows that are not held in memory: a pure function of (seed, epoch, batch)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_ranges import RangeReader, Rows, SplitRows
from surform.data.order import BatchOrder

__all__ = ["PHASES", "Lanes", "Span", "StreamOrder", "StreamSamples"]

PHASES = 4  # lanes of a process, which up to so many workers share without reading twice
_STREAMS = 2  # places from which a lane reads
_TAIL = 1 << 40  # number of the pool of what fills no lane


class Span(NamedTuple):
    """Rows of a batch: `start` to `stop` of a lane of an epoch."""

    epoch: int
    lane: int  # -1: the rows that fill no lane
    start: int
    stop: int


class Lanes(NamedTuple):
    """How the rows of an epoch are shared: `count` lanes of `rows` rows, then the others."""

    count: int
    rows: int


class StreamOrder(BatchOrder):
    """A `BatchOrder` for rows that are read one after the other.

    In training the row groups stand in random order, which makes one row of all rows; it is cut
    into equal lanes, four for each process. A lane is read at two places at once, and what is read
    is shuffled within pools, see `StreamSamples`. Batch k of a process comes from its lane k mod 4.
    The rows at the end that fill no lane make the last batches, as in `BatchOrder`; no row is lost
    or comes twice.

    In evaluation each process reads one part of the rows, in their order.

    Args:
        windows: rows of the split.
        options: of `BatchOrder`.
    """

    def __init__(self, windows: int, batch_size: int, seed: int = 0, **options: Any) -> None:
        super().__init__(windows, batch_size, seed, **options)
        self.lanes = self._lanes() if self.training else Lanes(0, 0)
        self._tail = BatchOrder(
            windows - self.lanes.count * self.lanes.rows, self.batch_size, seed, **options
        ) if self._has_tail() else None  # fmt: skip

    def __len__(self) -> int:
        """Batches in a whole epoch, the same for every rank."""
        if not self.training:
            return super().__len__()
        tail = 0 if self._tail is None else len(self._tail)
        return PHASES * self.lanes.rows // self.batch_size + tail

    def batches(self, epoch: int) -> Iterator[Any]:
        """All batches of this rank in one epoch, as spans."""
        if not self.training:
            yield from self._in_order()
            return
        for number in range(PHASES * self.lanes.rows // self.batch_size):
            turn, phase = divmod(number, PHASES)
            start = turn * self.batch_size
            yield Span(epoch, self.rank * PHASES + phase, start, start + self.batch_size)
        if self._tail is None:
            return
        for first, end in self._tail.bounds():
            yield Span(epoch, -1, first, end)

    def _lanes(self) -> Lanes:
        count = self.num_replicas * PHASES
        turns = self.windows // (count * self.batch_size)
        left = self.windows - turns * count * self.batch_size
        if turns and 0 < left < self.num_replicas and not self._whole:
            turns -= 1  # a last batch needs a row for each process
        return Lanes(count, turns * self.batch_size)

    def _has_tail(self) -> bool:
        left = self.windows - self.lanes.count * self.lanes.rows
        return self.training and left >= self.num_replicas * (self.batch_size if self._whole else 1)

    def _in_order(self) -> Iterator[Span]:
        first = self.windows * self.rank // self.num_replicas
        end = self.windows * (self.rank + 1) // self.num_replicas
        for later in range(len(self) - 1, -1, -1):
            # the last batch may be a row longer, so that all processes make as many
            stop = min(first + self.batch_size, end - later) if later else end
            yield Span(0, 0, first, stop)
            first = stop


class StreamSamples:
    """The rows of a split as batches that spans ask for, read from the files in the background.

    Spans of a lane are cheap one after the other; any other one is found, too, by reading its pool.

    Args:
        rows: of the split.
        training: shuffled; else in their order.
        lanes: of a `StreamOrder`.
        seed: of the shuffling.
        buffer: rows that are shuffled together, of all lanes of a process.
    """

    def __init__(
        self, rows: SplitRows, training: bool, lanes: Lanes, seed: int, buffer: int
    ) -> None:
        self.rows, self.training, self.lanes = rows, training, lanes
        self.seed, self.buffer = seed, buffer
        self._open: dict[tuple[int, int], _Lane] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, span: Span) -> InteractionsBatch:
        key = (span.epoch, span.lane)
        if key not in self._open:
            self._open = {k: lane for k, lane in self._open.items() if k[0] == span.epoch}
            self._open[key] = self._lane(span)
        parts = self._open[key].read(span.start, span.stop)
        found = Rows.joined(parts)
        return found.table.batch(slice(None), found.index)

    def _lane(self, span: Span) -> _Lane:
        order = np.arange(len(self.rows.counts))
        if not self.training:
            return _Lane(self.rows, order, (0, len(self.rows)), 1, self.buffer, None)
        order = np.random.default_rng([self.seed, span.epoch]).permutation(len(order))
        words = [self.seed, span.epoch, span.lane]
        if span.lane < 0:
            bounds = (self.lanes.count * self.lanes.rows, len(self.rows))
            return _Lane(self.rows, order, bounds, 1, len(self.rows), [*words[:2], _TAIL])
        bounds = (span.lane * self.lanes.rows, (span.lane + 1) * self.lanes.rows)
        return _Lane(self.rows, order, bounds, _STREAMS, self.buffer // PHASES, words)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}


class _Lane:
    """A range of the rows, read at several places at once and shuffled pool by pool.

    Pool i holds the i-th part of each place's rows, in random order.
    """

    def __init__(
        self, rows: SplitRows, order: np.ndarray, bounds: tuple[int, int], streams: int,
        buffer: int, words: list[int] | None,
    ) -> None:  # fmt: skip
        self._rows, self._order, self._words = rows, order, words
        first, end = bounds
        count = end - first
        self._streams = [first + count * n // streams for n in range(streams + 1)]
        # each place gives every pool a row at least
        self._pools = max(1, min(-(-count // max(buffer, 1)), count // streams))
        self._ends = np.array([self._before(pool + 1) for pool in range(self._pools)])
        self._next = -1  # the pool that the readers stand before
        self._readers: list[RangeReader] = []
        self._held: Rows | None = None

    def read(self, start: int, stop: int) -> list[Rows]:
        """Rows of the lane, in its order, from each pool a part."""
        found = []
        pool = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            before, end = self._before(pool), int(self._ends[pool])
            until = min(stop, end)
            found.append(self._pool(pool).chosen(slice(start - before, until - before)))
            start, pool = until, pool + 1
        return found

    def _pool(self, number: int) -> Rows:
        if self._held is not None and number == self._next - 1:
            return self._held
        if number != self._next:
            self._readers = [
                RangeReader(self._rows, self._order, self._share(n, number), self._streams[n + 1])
                for n in range(len(self._streams) - 1)
            ]
        self._held = None  # one pool at a time
        parts = []
        for stream, reader in enumerate(self._readers):
            parts += reader.take(self._share(stream, number + 1) - self._share(stream, number))
        found = Rows.joined(parts)
        if self._words is not None:
            mixed = np.random.default_rng([*self._words, number]).permutation(len(found))
            found = found.chosen(mixed)
        self._held, self._next = found, number + 1
        return found

    def _share(self, stream: int, pool: int) -> int:
        """Where pool `pool` begins in a stream."""
        first, end = self._streams[stream : stream + 2]
        return first + (end - first) * pool // self._pools

    def _before(self, pool: int) -> int:
        """Rows of the pools before one."""
        return sum(self._share(n, pool) - self._streams[n] for n in range(len(self._streams) - 1))
