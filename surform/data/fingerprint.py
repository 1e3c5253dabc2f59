"""A short name for the content of a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from surform.data.source import FieldSource

__all__ = ["fingerprint", "provenance"]


def fingerprint(source: FieldSource) -> str:
    """sha256 over names, shapes, attributes, coordinates and values, hexadecimal.

    Of the values only the first and last frame of the first, middle and last sample are read, so
    that it costs the same for data of any size; it tells data sets apart and is no proof against
    tampering. Where the files lie does not matter.
    """
    digest = hashlib.sha256()
    dataset, selection = source.dataset, source.selection
    variables = (*selection.fields, *selection.parameters)
    header = {
        "variables": {name: _sizes(source, name) for name in variables},
        "units": dict(source.layout.units),
        # the command names the file's place
        "attributes": {k: v for k, v in provenance(source).items() if k != "command"},
        "selection": [selection.time_stride, list(source.layout.strides)],
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for axis in source.layout.all_axes:
        digest.update(np.ascontiguousarray(source.layout.coordinates[axis]).tobytes())
    if "time" in dataset.coords:
        digest.update(np.ascontiguousarray(dataset["time"].values.astype(np.float64)).tobytes())
    for name in selection.parameters:
        digest.update(source.read_parameter(name).tobytes())
    for sample in _spread(source.layout.samples):
        for name in selection.fields:
            last = source.layout.frames - 1
            for frame in sorted({0, last}) if name in source.layout.timed else (0,):
                values = source.read(name, sample, frame, 1)
                digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()


def provenance(source: FieldSource) -> dict[str, str]:
    """The data set's attributes (solver, parameters, version, ...) as strings."""
    return {str(k): _plain(v) for k, v in sorted(source.dataset.attrs.items(), key=_first)}


def _plain(value: object) -> str:
    return str(value.item() if isinstance(value, np.generic) else value)


def _first(item: tuple[object, object]) -> str:
    return str(item[0])


def _sizes(source: FieldSource, name: str) -> list[list[object]]:
    variable = source.dataset.variables[name]
    return [[str(d), n] for d, n in zip(variable.dims, variable.shape, strict=True)]


def _spread(samples: int) -> Iterable[int]:
    return sorted({0, samples // 2, samples - 1})
