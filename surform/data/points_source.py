"""Samples on meshes, read one by one from files of any kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from surform.data.points import PointSample
from surform.data.points_checks import check_sample
from surform.data.points_description import PointsDescription

__all__ = ["JoinedPoints", "PointsSource", "rows_in_blocks"]

_BLOCK_ROWS = 2**18


class PointsSource(ABC):
    """Samples of one or several files, numbered from 0; every one is checked when it is read.

    Attributes:
        name: of the data, in messages.
        about: names and units of what `read` gives.
    """

    name: str
    about: PointsDescription
    fork_safe: bool = True  # whether worker processes may be forked
    in_memory: bool = False  # whether the data live in this process only

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def read_raw(self, sample: int) -> PointSample:
        """One sample of numpy arrays, float32 or float64, as it is stored."""

    def read(self, sample: int) -> PointSample:
        """One sample of numpy arrays.

        Raises:
            ValueError: a number that is not finite, a sample that is empty or unlike the others.
            OSError: the file cannot be read.
        """
        found = self.read_raw(sample)
        check_sample(found, self.about, self.place(sample))
        return found

    def read_all(self, samples: Sequence[int]) -> Iterator[PointSample]:
        """Several samples, in the order given."""
        return map(self.read, samples)

    def place(self, sample: int) -> str:
        """Which file a sample is in, and which of its samples it is."""
        return f"{self.name}, sample {sample}"

    def provenance(self) -> dict[str, str]:
        """What the files say of how they were made."""
        return {}

    def paths(self) -> list[str]:
        """The files, so that nothing is written over them."""
        return []


class JoinedPoints(PointsSource):
    """Several sources, one behind the other.

    Raises:
        ValueError: sources with other variables, columns or units.
    """

    def __init__(self, sources: Sequence[PointsSource]) -> None:
        self.sources = list(sources)
        first = self.sources[0]
        weighted = set(first.about.weighted)
        for source in self.sources[1:]:
            require_alike(first, source)
            weighted &= set(source.about.weighted)
        self.about = replace(
            first.about, weighted=tuple(n for n in first.about.weighted if n in weighted)
        )
        self.name = f"{first.name} and {len(self.sources) - 1} more"
        self.fork_safe = all(source.fork_safe for source in self.sources)
        self.in_memory = any(source.in_memory for source in self.sources)

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def read_raw(self, sample: int) -> PointSample:
        source, number = self._find(sample)
        return self._with_common_weights(source.read_raw(number))

    def _with_common_weights(self, found: PointSample) -> PointSample:
        """A sample without the weights that another source lacks."""
        weighted = self.about.weighted
        return replace(
            found,
            weights=found.weights if "points" in weighted else None,
            input_weights={n: w for n, w in found.input_weights.items() if n in weighted},
        )

    def read_all(self, samples: Sequence[int]) -> Iterator[PointSample]:
        where = [self._find(sample) for sample in samples]
        for _, group in groupby(where, key=lambda pair: id(pair[0])):
            pairs = list(group)
            for found in pairs[0][0].read_all([number for _, number in pairs]):
                yield self._with_common_weights(found)

    def place(self, sample: int) -> str:
        source, number = self._find(sample)
        return source.place(number)

    def provenance(self) -> dict[str, str]:
        return self.sources[0].provenance()

    def paths(self) -> list[str]:
        return [path for source in self.sources for path in source.paths()]

    def _find(self, sample: int) -> tuple[PointsSource, int]:
        left = sample
        for source in self.sources:
            if left < len(source):
                return source, left
            left -= len(source)
        raise IndexError(f"{self.name} has {len(self)} samples, not {sample + 1}")


def require_alike(one: PointsSource, other: PointsSource) -> None:
    """ValueError unless two sources have the same variables, columns and units."""
    mine, theirs = one.about, other.about
    try:
        mine.require_match(theirs, other.name)
    except ValueError as error:
        text = str(error).replace("the model was trained with", f"{one.name} has")
        raise ValueError(text) from error
    if mine.targets != theirs.targets:
        raise ValueError(
            f"{one.name} has the targets {', '.join(mine.targets)}, {other.name} has "
            f"{', '.join(theirs.targets) or 'none'}"
        )


def rows_in_blocks(counts: np.ndarray, samples: Sequence[int]) -> Iterator[range]:
    """Consecutive samples in blocks of about as many rows as are worth one read."""
    start = 0
    while start < len(samples):
        stop, rows = start + 1, int(counts[samples[start]])
        while (
            stop < len(samples)
            and samples[stop] == samples[stop - 1] + 1
            and rows + counts[samples[stop]] <= _BLOCK_ROWS
        ):
            rows += int(counts[samples[stop]])
            stop += 1
        yield range(samples[start], samples[stop - 1] + 1)
        start = stop
