"""Write samples on irregular meshes: CF contiguous ragged arrays, in Zarr or HDF5 (netCDF-4).

Samples stand one behind the other along "point" (and along "<input>_point" for every input
function); `row_size` says how many rows each has. docs/points.md describes the layout.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor

from surform.data.atomic import replacing
from surform.data.points import PointSample
from surform.data.points_checks import check_sample
from surform.data.points_description import PointsDescription, input_variable
from surform.data.points_rows import RowStore, copy_to_hdf5

__all__ = ["LAYOUT", "PointsWriter", "write_points"]

LAYOUT = "surform points 1"  # the attribute `layout` of such files

_HDF5 = (".h5", ".hdf5", ".nc")
_BUFFER_BYTES = 2**23


def write_points(
    path: str | os.PathLike[str],
    samples: Iterable[PointSample],
    description: PointsDescription,
    attributes: Mapping[str, Any] | None = None,
) -> Path:
    """Write samples to `path`, complete or not at all; they are never held all at once.

    Args:
        path: ends in .zarr, .h5, .hdf5 or .nc; what is there is replaced.
        samples: in the order of the file, of numpy arrays or tensors, float32 or float64 as the
            first one is; whole numbers become float64.
        description: names and units; its `source` is not written.
        attributes: provenance, of the file as a whole: strings and numbers.

    Raises:
        ValueError: samples without points, not finite, or not as described; no sample at all.
        OSError: the disk is full.
    """
    final = Path(path)
    if final.suffix not in (".zarr", *_HDF5):
        raise ValueError(f"{final} must end in one of .zarr, {', '.join(_HDF5)}")
    with replacing(final) as partial:
        rows = partial if final.suffix == ".zarr" else partial.with_name(f"{partial.name}.rows")
        try:
            with PointsWriter(rows, description, attributes) as out:
                for sample in samples:
                    out.append(sample)
            if not out.samples:
                raise ValueError(f"there are no samples to write to {final}")
            if rows != partial:
                copy_to_hdf5(out.rows, partial)
        finally:
            if rows != partial:
                shutil.rmtree(rows, ignore_errors=True)
    return final


class PointsWriter:
    """A Zarr store of samples that grows by one after the other; a context manager.

    Args:
        path: where it is written, under this very name.
        description: names and units of the samples.
        attributes: provenance.
        resume: go on where an earlier writer was stopped; what it had not finished is cut off.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        description: PointsDescription,
        attributes: Mapping[str, Any] | None = None,
        *,
        resume: bool = False,
    ) -> None:
        self.path, self.about = Path(path), description
        for name in description.variables():
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"{name!r} cannot be the name of a variable in a file")
        self.rows = RowStore(self.path, resume)
        self._attributes = dict(attributes or {})
        self._buffer: dict[str, list[np.ndarray]] = {}
        self._buffered = 0
        self._layout: dict[str, str] = {}  # variable -> dimension
        self.samples = self._continued() if resume else 0

    def append(self, sample: PointSample) -> None:
        """Add a sample; ValueError unless it is whole and like those before it."""
        check_sample(sample, self.about, f"sample {self.samples}")
        if sample.targets.shape[1] != len(self.about.targets):
            raise ValueError(f"sample {self.samples} has no targets: they cannot be written")
        found = self._variables(sample)
        if not self._layout:
            self._begin(found)
        elif {name: dim for name, (dim, _) in found.items()} != self._layout:
            raise ValueError(
                f"sample {self.samples} has weights where samples before it have none, or the "
                "other way round"
            )
        for name, (_, values) in found.items():
            self._buffer.setdefault(name, []).append(values)
            self._buffered += values.nbytes
        self.samples += 1
        if self._buffered >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added so far; a writer that resumes finds all of it."""
        # `row_size` comes last: a sample whose rows are not all written does not count.
        for name in sorted(self._buffer, key=lambda name: name == "row_size"):
            self.rows.append(name, np.concatenate(self._buffer[name]))
        self._buffer, self._buffered = {}, 0

    def close(self) -> None:
        """Write what is left and end the store."""
        self.flush()
        self.rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def _continued(self) -> int:
        stored = self.rows.attributes.get("roles")
        if stored is not None and stored != self._own_attributes()["roles"]:
            raise ValueError(f"{self.path} holds samples with other variables: it is not continued")
        return self.rows.trim()

    def _variables(self, sample: PointSample) -> dict[str, tuple[str, np.ndarray]]:
        """Dimension and values of every variable of the file."""
        about = self.about
        found = dict(_columns("point", about.columns, sample.points))
        found |= _columns("point", about.targets, sample.targets)
        if sample.weights is not None:
            found["weight"] = ("point", _array(sample.weights))
        for name, columns in about.inputs.items():
            rows, dim = sample.inputs[name], f"{name}_point"
            found |= _columns(dim, [input_variable(name, c) for c in columns], rows)
            if name in sample.input_weights:
                found[f"{name}_weight"] = (dim, _array(sample.input_weights[name]))
            found[f"{name}_row_size"] = ("sample", np.array([len(rows)], np.int64))
        for name, value in zip(about.parameters, _array(sample.parameters), strict=True):
            found[name] = ("sample", np.atleast_1d(value))
        return found | {"row_size": ("sample", np.array([len(sample.points)], np.int64))}

    def _begin(self, found: Mapping[str, tuple[str, np.ndarray]]) -> None:
        self._layout = {name: dim for name, (dim, _) in found.items()}
        self.rows.set_attributes(self._attributes | self._own_attributes())
        for name, (dim, values) in found.items():
            self.rows.create(name, dim, values.dtype, self._attributes_of(name))

    def _own_attributes(self) -> dict[str, str]:
        about = self.about
        names = ("coordinates", "features", "targets", "parameters")
        roles: dict[str, Any] = {name: list(getattr(about, name)) for name in names}
        roles["inputs"] = {name: list(columns) for name, columns in about.inputs.items()}
        return {"layout": LAYOUT, "roles": json.dumps(roles)}

    def _attributes_of(self, name: str) -> dict[str, str]:
        if name.endswith("row_size"):
            dim = name.removesuffix("row_size") + "point"
            return {"sample_dimension": dim, "long_name": f"number of rows along {dim}"}
        if name == "weight" or name.removesuffix("_weight") in self.about.inputs:
            return {"long_name": "measure of the mesh that a point stands for"}
        unit = self.about.unit(name)
        return {} if unit is None else {"units": unit}


def _columns(dim: str, names: Sequence[str], rows: Any) -> dict[str, tuple[str, np.ndarray]]:
    values = _array(rows)
    return {name: (dim, values[:, number]) for number, name in enumerate(names)}


def _array(values: Any) -> np.ndarray:
    found = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    # the first sample decides the type of the store: 1 there must not cut off 1.5 that follows
    return found if found.dtype.kind == "f" else found.astype(np.float64)
