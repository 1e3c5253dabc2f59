"""Read samples on meshes from Zarr and HDF5 (netCDF-4): ragged arrays, or one mesh size for all.

The layout is that of `write_points` (docs/points.md). Files of other makers may lack the attribute
`roles`; then coordinates are x, y, z, numbers per sample are parameters, what lies along
"<name>_point" is the input function <name>, and the rest along "point" are targets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from surform.data.faults import first_line, is_url
from surform.data.fields import is_zarr, open_stored
from surform.data.points import PointSample
from surform.data.points_checks import check_sample
from surform.data.points_description import input_variable
from surform.data.points_roles import describe_stored
from surform.data.points_selection import PointsSelection
from surform.data.points_source import PointsSource, rows_in_blocks

__all__ = ["StoredPoints"]

_OWN = ("layout", "roles")


class StoredPoints(PointsSource):
    """A Zarr store or HDF5 file of samples, opened lazily in every process.

    Args:
        path: local or an fsspec URL.
        selection: what is read, as what.
        dataset: used instead of what `path` names, which then is its name in messages.

    Raises:
        ValueError: not in the layout, or without a variable that is asked for.
        OSError: the file is missing, truncated or unreadable.
    """

    def __init__(
        self, path: str, selection: PointsSelection, dataset: xr.Dataset | None = None
    ) -> None:
        self.path = self.name = path
        self.fork_safe = not (is_url(path) or is_zarr(path))
        self.in_memory = path.startswith("memory://")
        self._given = dataset
        self._opened: tuple[int, xr.Dataset] | None = None
        if "point" not in self.dataset.dims:
            found = ", ".join(map(str, self.dataset.dims)) or "none"
            raise ValueError(
                f"{path} has no dimension 'point' (its dimensions: {found}): see the layout of "
                "samples on meshes in the documentation"
            )
        self.about = describe_stored(self.dataset, selection, path)
        dims = ("point", *(f"{name}_point" for name in self.about.inputs))
        self._starts = {dim: self._row_starts(dim) for dim in dims}
        self._samples = self._count()

    @property
    def dataset(self) -> xr.Dataset:
        """The file, opened by this process."""
        if self._given is not None:
            return self._given
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_stored(self.path))
        return self._opened[1]

    def __len__(self) -> int:
        return self._samples

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def read_raw(self, sample: int) -> PointSample:
        return self._block(range(sample, sample + 1))[0]

    def read_all(self, samples: Sequence[int]) -> Iterator[PointSample]:
        starts = self._starts["point"]
        points = self.dataset.sizes["point"]
        counts = np.full(len(self), points) if starts is None else np.diff(starts)
        for block in rows_in_blocks(counts, samples):
            for number, found in zip(block, self._block(block), strict=True):
                check_sample(found, self.about, self.place(number))
                yield found

    def provenance(self) -> dict[str, str]:
        attributes = sorted(self.dataset.attrs.items(), key=lambda item: str(item[0]))
        plain = {str(n): v.item() if isinstance(v, np.generic) else v for n, v in attributes}
        return {name: str(value) for name, value in plain.items() if name not in _OWN}

    def paths(self) -> list[str]:
        return [self.path] if self._given is None else []

    def _block(self, samples: range) -> list[PointSample]:
        """Consecutive samples with one read per variable."""
        about = self.about
        points = self._rows("point", about.columns, samples)
        targets = self._rows("point", about.targets, samples)
        parameters = self._parameters(samples)
        inputs, input_weights = {}, {}
        for name, columns in about.inputs.items():
            dim = f"{name}_point"
            inputs[name] = self._rows(dim, [input_variable(name, c) for c in columns], samples)
            if name in about.weighted:
                input_weights[name] = self._rows(dim, [f"{name}_weight"], samples)
        weighted = "points" in about.weighted
        weights = self._rows("point", ["weight"], samples) if weighted else None
        return [
            PointSample(
                points=points[k],
                targets=targets[k] if about.targets else np.empty((len(points[k]), 0), np.float32),
                parameters=parameters[k],
                inputs={name: rows[k] for name, rows in inputs.items()},
                weights=None if weights is None else weights[k][:, 0],
                input_weights={name: rows[k][:, 0] for name, rows in input_weights.items()},
            )
            for k in range(len(samples))
        ]

    def _rows(self, dim: str, names: Sequence[str], samples: range) -> list[np.ndarray]:
        """`(rows, names)` of each sample."""
        starts = self._starts[dim]
        columns = [self._read(name, dim, starts, samples) for name in names]
        if not columns:
            return []
        return [np.stack(of_sample, axis=-1) for of_sample in zip(*columns, strict=True)]

    def _read(
        self, name: str, dim: str, starts: np.ndarray | None, samples: range
    ) -> list[np.ndarray]:
        """One variable of each sample."""
        variable = self.dataset.variables[name]
        first, last = samples.start, samples.stop
        if variable.dims[0] == "sample":
            return list(self._values(name, slice(first, last)))
        if starts is None:  # one mesh for all samples
            return [self._values(name, slice(None))] * len(samples)
        values = self._values(name, slice(starts[first], starts[last]))
        return np.split(values, starts[first + 1 : last] - starts[first])

    def _parameters(self, samples: range) -> np.ndarray:
        """`(samples, P)`."""
        key = slice(samples.start, samples.stop)
        columns = [self._values(name, key) for name in self.about.parameters]
        return np.stack(columns, axis=-1) if columns else np.empty((len(samples), 0), np.float32)

    def _values(self, name: str, key: slice) -> np.ndarray:
        try:
            values = self.dataset.variables[name][key].to_numpy()
        except Exception as error:  # a damaged chunk can fail in any way
            reason = first_line(error)
            raise OSError(f"cannot read variable {name} of {self.path}: {reason}") from error
        return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)

    def _row_starts(self, dim: str) -> np.ndarray | None:
        """Where the rows of each sample begin, and the end; None where all have as many rows."""
        counter = f"{dim.removesuffix('point')}row_size"
        if counter not in self.dataset.variables:
            return None
        counts = np.asarray(self.dataset.variables[counter].values)
        rows = self.dataset.sizes[dim]
        if counts.dtype.kind not in "iu" or (counts < 0).any() or counts.sum() != rows:
            raise ValueError(
                f"{self.path}: {counter} counts {counts.sum():g} rows, but there are {rows} along "
                f"{dim!r}: the file is incomplete or was changed"
            )
        return np.concatenate([[0], np.cumsum(counts)])

    def _count(self) -> int:
        """How many samples there are; ValueError when the variables disagree."""
        counts = {len(starts) - 1 for starts in self._starts.values() if starts is not None}
        if "sample" in self.dataset.sizes:
            counts.add(self.dataset.sizes["sample"])
        if len(counts) > 1:
            raise ValueError(f"{self.path} has variables of {sorted(counts)} samples")
        return counts.pop() if counts else 1
