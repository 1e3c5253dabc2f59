"""The rows of one split, encoded while they are read: any range of any order of the row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_log import BATCH_ROWS, InteractionsLog
from surform.data.interactions_table import InteractionsTable, joined

__all__ = ["RangeReader", "Rows", "SplitRows"]


class Rows:
    """Encoded rows, and their numbers in the split."""

    def __init__(self, table: InteractionsTable, index: np.ndarray) -> None:
        self.table, self.index = table, index

    def __len__(self) -> int:
        return len(self.index)

    def chosen(self, numbers: np.ndarray | slice) -> Rows:
        """Some of them."""
        return Rows(self.table.rows(numbers), self.index[numbers])

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after the other; at least one."""
        if len(parts) == 1:
            return parts[0]
        index = np.concatenate([part.index for part in parts])
        return cls(joined([part.table for part in parts]), index)


class SplitRows:
    """Which rows of which row groups belong to a split.

    Args:
        log: the opened files.
        own: (rows of the log,) bool, True = belongs to the split.
        encoder: of the rows.
        columns: that are read.
    """

    def __init__(
        self,
        log: InteractionsLog,
        own: np.ndarray,
        encoder: InteractionsEncoder,
        columns: Sequence[str],
    ) -> None:
        self.log, self.encoder, self.columns = log, encoder, tuple(columns)
        self._own = np.packbits(own)
        pieces = [
            (f, piece, rows)
            for f, file in enumerate(log.files)
            for piece, rows in enumerate(file.pieces)
            if rows
        ]
        self._file, self._piece, self._rows = np.array(pieces, dtype=np.int64).T
        self._first = np.cumsum(self._rows) - self._rows
        self.counts = np.add.reduceat(own, self._first, dtype=np.int64)
        self._before = np.cumsum(self.counts) - self.counts
        self._file_first = np.array(
            [self._first[self._file == number].min(initial=0) for number in range(len(log.files))]
        )

    def __len__(self) -> int:
        """Rows of the split."""
        return int(self.counts.sum())

    def read(self, order: np.ndarray, start: int, stop: int) -> Iterator[Rows]:
        """Rows `start` to `stop` of the split, its row groups in this order."""
        ends = np.cumsum(self.counts[order])
        for place in range(int(np.searchsorted(ends, start, side="right")), len(order)):
            group = int(order[place])
            before = int(ends[place] - self.counts[group])
            if before >= stop:
                return
            yield from self._read_group(group, max(start - before, 0), stop - before)

    def _read_group(self, group: int, start: int, stop: int) -> Iterator[Rows]:
        """The split's rows `start` to `stop` of a row group."""
        wanted = self._members(group)[start:stop]
        if not len(wanted):
            return
        file = self.log.files[int(self._file[group])]
        within = int(self._first[group] - self._file_first[self._file[group]])
        index = int(self._before[group]) + start
        row = done = 0
        for batch in file.read(int(self._piece[group]), self.columns, BATCH_ROWS):
            end = int(np.searchsorted(wanted, row + batch.num_rows))
            own = wanted[done:end] - row
            if len(own):
                numbers = np.arange(index + done, index + end)
                yield Rows(self._encoded(batch, own, file.name, within + row), numbers)
            row, done = row + batch.num_rows, end
            if done == len(wanted):
                return

    def _encoded(self, batch: Any, own: np.ndarray, file: str, within: int) -> InteractionsTable:
        if 2 * len(own) < batch.num_rows:  # few of many: encode no others
            return self.encoder.encode(batch.take(own), file, within + int(own[0]))
        found = self.encoder.encode(batch, file, within)
        return found if len(own) == batch.num_rows else found.rows(own)

    def _members(self, group: int) -> np.ndarray:
        """Numbers, in the row group, of the rows of the split."""
        first, rows = int(self._first[group]), int(self._rows[group])
        byte = first // 8
        bits = np.unpackbits(self._own[byte : (first + rows + 7) // 8])
        return np.flatnonzero(bits[first - 8 * byte : first - 8 * byte + rows])


class RangeReader:
    """Takes the rows of a range one after the other, as many as asked for."""

    def __init__(self, rows: SplitRows, order: np.ndarray, start: int, stop: int) -> None:
        self._parts = rows.read(order, start, stop)
        self._left: Rows | None = None

    def take(self, count: int) -> list[Rows]:
        """The next rows, in parts; fewer where the range ends."""
        found: list[Rows] = []
        while count:
            part = self._left if self._left is not None else next(self._parts, None)
            self._left = None
            if part is None:
                break
            if len(part) > count:
                self._left = part.chosen(slice(count, None))
                part = part.chosen(slice(count))
            found.append(part)
            count -= len(part)
        return found
