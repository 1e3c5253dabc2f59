"""The samples of a split as batches: held in memory, or read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from surform.data.points import PointBatch, PointSample, collate
from surform.data.points_source import PointsSource

__all__ = ["PointSamples"]


class PointSamples(Dataset[PointBatch]):
    """Some samples of a source; a list of numbers gives their batch.

    All samples are read once at the start, so that bad ones are met there, and kept as long as
    they fit.

    Args:
        source: where they are read.
        samples: their numbers in the source.
        dtype: of all numbers in the batches.
        memory: bytes that may be held; more, and every sample is read anew when it is needed.
        visit: called with each sample, of numpy arrays, as it is read at the start.
        progress: called with the fraction that is read.

    Attributes:
        lengths: `(samples,)`, the number of points of each.
        held: bytes in memory; 0 where samples are read when they are needed.
    """

    def __init__(
        self,
        source: PointsSource,
        samples: Sequence[int],
        dtype: torch.dtype,
        memory: float,
        visit: Callable[[PointSample], None] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.source, self.samples, self.dtype = source, samples, dtype
        self.lengths = np.zeros(len(samples), np.int64)
        self.held = 0
        kept: list[PointSample] | None = []
        for number, sample in enumerate(source.read_all(samples)):
            self.lengths[number] = len(sample.points)
            if visit is not None:
                visit(sample)
            if kept is not None:
                kept.append(self._tensors(sample, number))
                self.held += _bytes(kept[-1])
                if self.held > memory:
                    kept, self.held = None, 0
            if progress is not None:
                progress((number + 1) / len(samples))
        self._kept = kept

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Sequence[int]) -> PointBatch:
        return collate([self.sample(number) for number in index], index)

    @property
    def in_memory(self) -> bool:
        """Whether the samples are held."""
        return self._kept is not None

    def sample(self, number: int) -> PointSample:
        """One sample, of tensors."""
        if self._kept is not None:
            return self._kept[number]
        return self._tensors(self.source.read(self.samples[number]), number)

    def labels(self, index: Tensor) -> dict[str, Any]:
        """Where the samples of a batch come from: "place", one text each."""
        return {"place": [self.source.place(self.samples[int(number)]) for number in index]}

    def _tensors(self, sample: PointSample, number: int) -> PointSample:
        found = sample.tensors(self.dtype)
        for values in (found.points, found.targets, found.parameters, *found.inputs.values()):
            if not bool(torch.isfinite(values).all()):
                kind = str(self.dtype).removeprefix("torch.")
                raise ValueError(
                    f"{self.source.place(self.samples[number])} holds numbers that {kind} cannot: "
                    "set dtype to float64, or choose other units"
                )
        return found


def _bytes(sample: PointSample) -> int:
    arrays = [sample.points, sample.targets, sample.parameters, *sample.inputs.values()]
    arrays += [w for w in (sample.weights, *sample.input_weights.values()) if w is not None]
    return sum(values.numel() * values.element_size() for values in arrays)
