"""Read selected fields from files, in whichever process asks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from surform.data.faults import first_line, is_url
from surform.data.fields import expand_paths, is_zarr, open_fields
from surform.data.layout import Layout, resolve
from surform.data.selection import Selection

__all__ = ["FieldSource"]


class FieldSource:
    """The selected part of some files, in whichever process: each opens the files it reads.

    Args:
        path: what `open_fields` accepts.
        selection: variables and sub-sampling.
        dataset: what `open_fields` made of it, where that is known.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        selection: Selection,
        dataset: xr.Dataset | None = None,
    ) -> None:
        self.paths, self.selection = expand_paths(path), selection
        self.dataset = open_fields(self.paths) if dataset is None else dataset
        self.layout: Layout = resolve(selection, self.dataset, self.name)

    def selecting(self, selection: Selection) -> FieldSource:
        """Another part of the same files, which are not opened again."""
        return FieldSource(self.paths, selection, self.dataset)

    @property
    def name(self) -> str:
        """The data's name in messages: a path, or the first of several."""
        more = len(self.paths) - 1
        return self.paths[0] + (f" and {more} more" if more else "")

    @property
    def fork_safe(self) -> bool:
        """Whether worker processes may be forked (Zarr and fsspec keep threads: a dead-lock)."""
        return not any(is_url(path) or is_zarr(path) for path in self.paths)

    @property
    def in_memory(self) -> bool:
        """Whether the data live in this process only ("memory://")."""
        return any(path.startswith("memory://") for path in self.paths)

    def read(self, name: str, sample: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """One variable of one sample: `(frames, *grid)`, or `(*grid)` when it has no time axis.

        Args:
            name: the variable.
            sample: which sample.
            start: first frame, counted after `time_stride`.
            frames: how many; all from `start` on by default.

        Raises:
            ValueError: NaN or infinity, naming file, variable and index.
            OSError: the file cannot be read.
        """
        return self.read_many(name, range(sample, sample + 1), start, frames)[0]

    def read_many(
        self, name: str, samples: range, start: int = 0, frames: int | None = None
    ) -> np.ndarray:
        """As `read`, of consecutive samples: `(samples, frames, *grid)` or `(samples, *grid)`."""
        layout, stride = self.layout, self.selection.time_stride
        space = tuple(slice(None, None, step) for step in layout.strides_of(name))
        frames = layout.frames - start if frames is None else frames
        first = start * stride
        time = (slice(first, first + (frames - 1) * stride + 1, stride),)
        rows = slice(samples.start, samples.stop)
        key = (rows, *(time if name in layout.timed else ()), *space)
        try:
            values = self._values(name, key, samples.start)
        except OSError:
            if len(samples) > 1:  # which one it is
                for sample in samples:
                    self.read(name, sample, start, frames)
            raise
        self._require_finite(name, values, samples.start, start)
        return values

    def read_parameter(self, name: str) -> np.ndarray:
        """A scalar per sample, float64 `(samples,)`."""
        values = self._values(name, (slice(None),), 0).astype(np.float64)
        self._require_finite(name, values)
        return values

    def chunk(self, name: str) -> tuple[int, int]:
        """Samples and (selected) frames of a stored piece of a field; 1 where it lies in one."""
        stored = self.dataset.variables[name].encoding["stored"]
        if stored.chunks is None:
            return 1, 1
        frames = stored.chunks[1] if name in self.layout.timed else 1
        return stored.chunks[0], -(-frames // self.selection.time_stride)

    def first_of_groups(self, count: int) -> np.ndarray:
        """`(samples,)`: the first of the `count` samples that each belongs to, file by file."""
        found, offset = [], 0
        for _, samples in self.dataset.encoding["files"]:
            found.append(offset + np.arange(samples) // count * count)
            offset += samples
        return np.concatenate(found)

    def groups(self, samples: range) -> Iterator[range]:
        """Consecutive samples that lie in the same stored pieces: reading one reads them all."""
        count = max(self.chunk(name)[0] for name in self.selection.fields)
        firsts = self.first_of_groups(count)[samples.start : samples.stop]
        edges = samples.start + np.flatnonzero(np.diff(firsts)) + 1
        for start, stop in pairwise([samples.start, *map(int, edges), samples.stop]):
            yield range(start, stop)

    def file_of(self, sample: int) -> tuple[str, int]:
        """The file that holds a sample, and the sample's index in it."""
        for path, count in self.dataset.encoding["files"]:
            if sample < count:
                return path, sample
            sample -= count
        raise IndexError(f"{self.name} has {self.layout.samples} samples")

    def _values(self, name: str, key: tuple[Any, ...], sample: int) -> np.ndarray:
        try:
            return self.dataset.variables[name][key].to_numpy()
        except Exception as error:
            path, index = self.file_of(sample)
            # a file system may have errors of its own kind for what a server answered
            if not (isinstance(error, (OSError, RuntimeError)) or is_url(path)):
                raise
            raise OSError(
                f"cannot read variable {name}, sample {index} of {path}: {first_line(error)}"
            ) from error

    def _require_finite(
        self, name: str, values: np.ndarray, sample: int = 0, start: int = 0
    ) -> None:
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        at = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
        found = values[tuple(at)]
        path, index = self.file_of(sample + at.pop(0))
        place = f"sample {index}"
        if at:
            if name in self.layout.timed:
                place += f", time index {(start + at.pop(0)) * self.selection.time_stride}"
            axes, strides = self.layout.variable_axes[name], self.layout.strides_of(name)
            for axis, i, stride in zip(axes, at, strides, strict=True):
                place += f", {axis} index {i * stride}"
        raise ValueError(f"{path}: variable {name} is {found} at {place}")
