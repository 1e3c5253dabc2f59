"""Where windows come from: fields held in memory, or read from files as they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from surform.data.blocks import BlockCache, Span
from surform.data.layout import Layout
from surform.data.source import FieldSource

__all__ = ["FileStore", "MemoryStore", "Store", "Want", "memory_bytes"]


@dataclass(frozen=True)
class Want:
    """Variables of one grid as channels, over some frames after a window's start.

    Args:
        names: the variables, in channel order.
        first: first frame, counted from the window's start.
        frames: how many; None for variables without time.
    """

    names: tuple[str, ...]
    first: int = 0
    frames: int | None = None


class Store(Protocol):
    """Gives the wanted variables of several windows."""

    def gather(
        self, wants: Sequence[Want], samples: np.ndarray, starts: np.ndarray
    ) -> list[Tensor]:
        """Per want `(B, frames, *grid, C)`, or `(B, *grid, C)` without time."""
        ...


def memory_bytes(wants: Sequence[Want], layout: Layout, samples: int, dtype: np.dtype) -> int:
    """What a `MemoryStore` of so many samples takes."""
    groups = {(want.names, want.frames is not None) for want in wants}
    values = sum(
        len(names) * (layout.frames if timed else 1) * math.prod(layout.shape_of(names[0]))
        for names, timed in groups
    )
    return values * samples * np.dtype(dtype).itemsize


class MemoryStore:
    """Fields in memory, channels last: a batch is one gather per want.

    Args:
        source: read once, here.
        wants: what will be asked for.
        samples: the samples to hold.
        dtype: of the values held.
        progress: called with the fraction that is read.
    """

    def __init__(
        self,
        source: FieldSource,
        wants: Sequence[Want],
        samples: range,
        dtype: np.dtype,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.layout = source.layout
        self._source = source
        self._row = {sample: row for row, sample in enumerate(samples)}
        self._fields: dict[tuple[tuple[str, ...], bool], Tensor] = {}
        for want in wants:
            key = (want.names, want.frames is not None)
            if key not in self._fields:
                self._fields[key] = _empty(self.layout, want, len(samples), dtype)
        for group in source.groups(samples):
            rows = slice(group.start - samples.start, group.stop - samples.start)
            for (names, _), fields in self._fields.items():
                for channel, name in enumerate(names):
                    fields.numpy()[rows, ..., channel] = source.read_many(name, group)
            if progress is not None:
                progress(rows.stop / len(samples))

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(fields.nbytes for fields in self._fields.values())

    def gather(
        self, wants: Sequence[Want], samples: np.ndarray, starts: np.ndarray
    ) -> list[Tensor]:
        rows = torch.tensor([self._row[int(sample)] for sample in samples])
        first = torch.from_numpy(np.asarray(starts))
        gathered = []
        for want in wants:
            fields = self._fields[want.names, want.frames is not None]
            if want.frames is None:
                gathered.append(fields.index_select(0, rows))
                continue
            steps = first + want.first
            index = (rows * self.layout.frames + steps)[:, None] + torch.arange(want.frames)
            flat = fields.flatten(0, 1).index_select(0, index.flatten())
            gathered.append(flat.unflatten(0, (len(rows), want.frames)))
        return gathered

    def read_many(
        self, name: str, samples: range, start: int = 0, frames: int | None = None
    ) -> np.ndarray:
        """As `FieldSource.read_many`, of what is held."""
        timed = name in self.layout.timed
        for (names, with_time), fields in self._fields.items():
            if name in names and with_time == timed:
                first = self._row[samples.start]
                values = fields[first : first + len(samples), ..., names.index(name)]
                if not timed:
                    return values.numpy()
                stop = self.layout.frames if frames is None else start + frames
                return values[:, start:stop].numpy()
        return self._source.read_many(name, samples, start, frames)

    def chunk(self, name: str) -> tuple[int, int]:
        """As `FieldSource.chunk`: what is held has none."""
        return 1, 1

    def groups(self, samples: range) -> Iterator[range]:
        """As `FieldSource.groups`: each sample by itself."""
        return (range(sample, sample + 1) for sample in samples)

    def read_parameter(self, name: str) -> np.ndarray:
        """As `FieldSource.read_parameter`."""
        return self._source.read_parameter(name)


class FileStore:
    """Fields in files: a batch reads one contiguous piece per sample and variable.

    Args:
        source: may be sent to worker processes, which open the files themselves.
        dtype: of the values given.
        cache: keeps what was read, where the order of the windows uses it again.
    """

    def __init__(
        self, source: FieldSource, dtype: np.dtype, cache: BlockCache | None = None
    ) -> None:
        self.source, self.dtype, self.cache = source, np.dtype(dtype), cache

    def gather(
        self, wants: Sequence[Want], samples: np.ndarray, starts: np.ndarray
    ) -> list[Tensor]:
        shape_of = self.source.layout.shape_of
        outputs = [
            np.empty(
                (len(samples), *([w.frames] if w.frames else []), *shape_of(w.names[0]),
                 len(w.names)),
                self.dtype,
            )
            for w in wants
        ]  # fmt: skip
        spans = _spans(wants)
        for rows, offset, name, values in self._pieces(wants, spans, samples, starts):
            span = spans[name]
            for want, output in zip(wants, outputs, strict=True):
                if name not in want.names:
                    continue
                channel = want.names.index(name)
                for row in rows:
                    output[row, ..., channel] = (
                        values
                        if span is None
                        else _cut(values, int(starts[row]) - offset - span[0], want)
                    )
        return [torch.from_numpy(output) for output in outputs]

    def _pieces(
        self,
        wants: Sequence[Want],
        spans: Mapping[str, Span],
        samples: np.ndarray,
        starts: np.ndarray,
    ) -> Iterator[tuple[list[int], int, str, np.ndarray]]:
        """Rows of a batch, a start not after theirs, and a field from there on."""
        if self.cache is not None:
            for row, (sample, start) in enumerate(zip(samples, starts, strict=True)):
                found = self.cache.read(int(sample), int(start), spans)
                yield from (([row], int(start), name, values) for name, values in found.items())
            return
        for rows in _runs(samples, starts, max(w.first + (w.frames or 1) for w in wants)):
            sample, offset = int(samples[rows[0]]), int(min(starts[row] for row in rows))
            reach = int(max(starts[row] for row in rows)) - offset
            for name, span in spans.items():
                if span is None:
                    values = self.source.read(name, sample)
                else:
                    begin, end = span
                    values = self.source.read(name, sample, offset + begin, end - begin + reach)
                yield rows, offset, name, values


def _empty(layout: Layout, want: Want, samples: int, dtype: np.dtype) -> Tensor:
    time = () if want.frames is None else (layout.frames,)
    grid = layout.shape_of(want.names[0])
    return torch.from_numpy(np.empty((samples, *time, *grid, len(want.names)), dtype))


def _spans(wants: Sequence[Want]) -> dict[str, Span]:
    """Per variable the frames needed from a window's start on, or None without time."""
    spans: dict[str, Span] = {}
    for want in wants:
        for name in want.names:
            if want.frames is None:
                spans[name] = None
                continue
            begin, end = spans.get(name) or (want.first, want.first)
            spans[name] = min(begin, want.first), max(end, want.first + want.frames)
    return spans


def _runs(samples: np.ndarray, starts: np.ndarray, frames: int) -> Iterator[list[int]]:
    """Rows of one sample whose windows overlap or touch: they are read together."""
    order = np.lexsort((starts, samples))
    run = [int(order[0])]
    for row in map(int, order[1:]):
        near = starts[row] - starts[run[-1]] <= frames
        if samples[row] != samples[run[-1]] or not near:
            yield run
            run = []
        run.append(row)
    yield run


def _cut(values: np.ndarray, shift: int, want: Want) -> np.ndarray:
    begin = shift + want.first
    return values[begin : begin + (want.frames or 1)]
