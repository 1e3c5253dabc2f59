"""Means and standard deviations of fields in one streaming pass, in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol

import numpy as np
from safetensors.numpy import load_file, save_file

from surform.data.atomic import replacing
from surform.data.layout import Layout

__all__ = [
    "Moments",
    "VariableStatistics",
    "field_statistics",
    "load_statistics",
    "save_statistics",
    "share_statistics",
]

Share = tuple[int, int, Callable[[Any], list[Any]]]

_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class VariableStatistics:
    """Statistics of one variable over the training samples, in its own units; float64.

    Standard deviations are those of the population (divided by n).

    Args:
        mean: over samples, time and space.
        std: likewise.
        temporal_std: mean over space and samples of the deviation in time; None without time.
        pointwise_mean: `(*grid)`, over samples and time; None unless asked for.
        pointwise_std: likewise.
    """

    mean: float
    std: float
    temporal_std: float | None = None
    pointwise_mean: np.ndarray | None = None
    pointwise_std: np.ndarray | None = None


class Reader(Protocol):
    """What the pass needs of a source of fields."""

    layout: Layout

    def read_many(
        self, name: str, samples: range, start: int = 0, frames: int | None = None
    ) -> np.ndarray:
        """`(samples, frames, *grid)`, or `(samples, *grid)` for variables without time."""
        ...

    def chunk(self, name: str) -> tuple[int, int]:
        """Samples and frames that are stored together."""
        ...

    def groups(self, samples: range) -> Iterator[range]:
        """Samples that are stored together."""
        ...

    def read_parameter(self, name: str) -> np.ndarray:
        """`(samples,)`."""
        ...


@dataclass
class Moments:
    """Count, mean and sum of squared deviations, merged as in Chan, Golub & LeVeque (1983)."""

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, axis: int | None) -> Moments:
        """Those of `values`, along one axis or over all of them."""
        values = values.astype(np.float64)
        count = values.size if axis is None else values.shape[axis]
        mean = values.mean(axis=axis)
        values -= mean
        if axis is None:
            flat = values.ravel()
            return cls(count, mean, np.dot(flat, flat))
        return cls(count, mean, np.square(values, out=values).sum(axis=axis))

    def merge(self, other: Moments) -> Moments:
        """Those of both sets of values together."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        squares = self.squares + other.squares + step**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)

    def over_space(self) -> Moments:
        """Pointwise moments as moments of all values."""
        spread = Moments.of(self.mean, None)
        squares = self.squares.sum() + self.count * spread.squares
        return Moments(self.count * self.mean.size, spread.mean, squares)

    @property
    def std(self) -> np.ndarray:
        """The standard deviation, divided by n."""
        return np.sqrt(self.squares / self.count)


def field_statistics(
    reader: Reader,
    variables: Sequence[str],
    parameters: Sequence[str],
    samples: range,
    *,
    per_point: bool = False,
    progress: Callable[[float], None] | None = None,
    share: Share = (0, 1, lambda part: [part]),
) -> dict[str, VariableStatistics]:
    """Statistics of `variables` and scalar `parameters` over `samples`, reading each value once.

    Args:
        reader: a `FieldSource` or fields in memory.
        variables: names of fields.
        parameters: names of scalars per sample.
        samples: the training samples.
        per_point: also the deviations in time and per grid point (more memory and time).
        progress: called with the fraction that is done.
        share: this process, how many there are, and what gives every one the parts of all: each
            process reads its share of the samples.
    """
    rank, ranks, gather = share
    groups = list(reader.groups(samples))
    first, last = (len(groups) * k // ranks for k in (rank, rank + 1))
    # of each variable the moments of every sample; those per point are large, so one for all
    parts: dict[str, list[Moments]] = {name: [] for name in variables}
    in_time: dict[str, list[float]] = {name: [] for name in variables}
    for done, group in enumerate(groups[first:last], start=1):
        for name in variables:
            found = _of_samples(reader, name, group, per_point)
            in_time[name] += [float(each.std.mean()) for each in found]
            parts[name] += found
            if per_point:
                parts[name] = [reduce(Moments.merge, parts[name])]
        if progress is not None:
            progress(done / (last - first))
    shares = gather((parts, in_time)) if ranks > 1 else [(parts, in_time)]
    totals = {
        name: reduce(Moments.merge, [each for own, _ in shares for each in own[name]])
        for name in variables
    }
    deviation = {
        name: sum(each / len(samples) for _, own in shares for each in own[name])
        for name in variables
    }
    statistics = {}
    for name, total in totals.items():
        overall = total.over_space() if per_point else total
        statistics[name] = VariableStatistics(
            mean=float(overall.mean),
            std=float(overall.std),
            temporal_std=deviation[name] if per_point and name in reader.layout.timed else None,
            pointwise_mean=total.mean if per_point else None,
            pointwise_std=total.std if per_point else None,
        )
    for name in parameters:
        moments = Moments.of(reader.read_parameter(name)[np.asarray(samples)], None)
        mean, std = float(moments.mean), float(moments.std)
        point = (np.asarray(mean), np.asarray(std)) if per_point else (None, None)
        statistics[name] = VariableStatistics(mean, std, None, *point)
    return statistics


def share_statistics(
    found: Mapping[str, VariableStatistics], groups: Sequence[Sequence[str]]
) -> dict[str, VariableStatistics]:
    """One mean and one deviation for the variables of each group; those per point stay apart."""
    shared = dict(found)
    for group in groups:
        members = [found[name] for name in group]
        mean = float(np.mean([m.mean for m in members]))
        std = float(np.sqrt(np.mean([m.std**2 + (m.mean - mean) ** 2 for m in members])))
        in_time = [m.temporal_std for m in members if m.temporal_std is not None]
        temporal = float(np.mean(in_time)) if in_time else None
        for name in group:
            shared[name] = replace(found[name], mean=mean, std=std, temporal_std=temporal)
    return shared


def _of_samples(reader: Reader, name: str, samples: range, per_point: bool) -> list[Moments]:
    if name not in reader.layout.timed:
        values = reader.read_many(name, samples)
        if per_point:
            return [Moments.of(each[None], 0) for each in values]
        return [Moments.of(each, None) for each in values]
    frames, piece = reader.layout.frames, reader.chunk(name)[1]
    block = _BLOCK_BYTES // (8 * len(samples) * int(np.prod(reader.layout.shape_of(name))))
    block = max(block // piece, 1) * piece  # no piece is read twice
    totals: list[Moments] = []
    for start in range(0, frames, block):
        values = reader.read_many(name, samples, start, min(block, frames - start))
        found = [Moments.of(each, 0 if per_point else None) for each in values]
        totals = [a.merge(b) for a, b in zip(totals, found, strict=True)] if totals else found
    return totals


def save_statistics(path: str | os.PathLike[str], found: Mapping[str, VariableStatistics]) -> None:
    """Write statistics as one safetensors file."""
    arrays = {
        f"{name}/{key}": np.atleast_1d(np.asarray(value, np.float64))
        if np.ndim(value) == 0
        else np.ascontiguousarray(value)
        for name, values in found.items()
        for key, value in vars(values).items()
        if value is not None
    }
    with replacing(path) as partial:
        save_file(arrays, str(partial))


def load_statistics(path: str | os.PathLike[str]) -> dict[str, VariableStatistics]:
    """The inverse of `save_statistics`."""
    values: dict[str, dict[str, float | np.ndarray]] = {}
    for key, array in load_file(os.fspath(path)).items():
        name, _, quantity = key.rpartition("/")
        scalar = quantity in ("mean", "std", "temporal_std")
        values.setdefault(name, {})[quantity] = float(array[0]) if scalar else array
    return {name: VariableStatistics(**found) for name, found in values.items()}  # type: ignore[arg-type]
