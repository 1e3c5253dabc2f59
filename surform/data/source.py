"""Read selected fields from files, in whichever process asks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from surform.data.faults import is_url
from surform.data.fields import expand_paths, is_zarr, open_fields
from surform.data.layout import Layout, resolve
from surform.data.selection import Selection

__all__ = ["FieldSource"]


class FieldSource:
    """The selected part of some files. Holds paths only: files open again in every process.

    Args:
        path: what `open_fields` accepts.
        selection: variables and sub-sampling.
    """

    def __init__(
        self, path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], selection: Selection
    ) -> None:
        self.paths, self.selection = expand_paths(path), selection
        self._opened: tuple[int, xr.Dataset] | None = None
        self.layout: Layout = resolve(selection, self.dataset, self.name)

    @property
    def name(self) -> str:
        """The data's name in messages: a path, or the first of several."""
        more = len(self.paths) - 1
        return self.paths[0] + (f" and {more} more" if more else "")

    @property
    def dataset(self) -> xr.Dataset:
        """The files, opened lazily by this process."""
        # A handle that was inherited by fork is another process' and must not be used.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_fields(self.paths))
        return self._opened[1]

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
        layout, stride = self.layout, self.selection.time_stride
        space = tuple(slice(None, None, step) for step in layout.strides_of(name))
        frames = layout.frames - start if frames is None else frames
        first = start * stride
        time = (slice(first, first + (frames - 1) * stride + 1, stride),)
        key = (sample, *(time if name in layout.timed else ()), *space)
        values = self._values(name, key, sample)
        self._require_finite(name, values, sample, start)
        return values

    def read_parameter(self, name: str) -> np.ndarray:
        """A scalar per sample, float64 `(samples,)`."""
        values = self._values(name, (slice(None),), 0).astype(np.float64)
        self._require_finite(name, values)
        return values

    def file_of(self, sample: int) -> tuple[str, int]:
        """The file that holds a sample, and the sample's index in it."""
        for path, count in self.dataset.encoding["files"]:
            if sample < count:
                return path, sample
            sample -= count
        raise IndexError(f"{self.name} has {self.layout.samples} samples")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _values(self, name: str, key: tuple[Any, ...], sample: int) -> np.ndarray:
        try:
            return self.dataset.variables[name][key].to_numpy()
        except (OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            path, index = self.file_of(sample)
            raise OSError(
                f"cannot read variable {name}, sample {index} of {path}: {reason}"
            ) from error

    def _require_finite(
        self, name: str, values: np.ndarray, sample: int | None = None, start: int = 0
    ) -> None:
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        at = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
        found = values[tuple(at)]
        if sample is None:
            path, at[0] = self.file_of(at[0])
            place = f"sample {at[0]}"
        else:
            path, index = self.file_of(sample)
            place = f"sample {index}"
            if name in self.layout.timed:
                place += f", time index {(start + at.pop(0)) * self.selection.time_stride}"
            axes, strides = self.layout.variable_axes[name], self.layout.strides_of(name)
            for axis, i, stride in zip(axes, at, strides, strict=True):
                place += f", {axis} index {i * stride}"
        raise ValueError(f"{path}: variable {name} is {found} at {place}")
