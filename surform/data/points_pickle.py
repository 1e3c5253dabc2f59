"""Samples on meshes from GNOT's published pickles: a list of [X, Y, theta, (f_1, ..., f_n)]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.plain_pickle import read_plain_pickle
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.points_selection import PointsSelection
from surform.data.points_source import PointsSource

__all__ = ["PickledPoints"]


class PickledPoints(PointsSource):
    """A pickle of samples X `(N, Cx)`, Y `(N, out)`, theta `(P,)`, f_j `(N_j, c_j)`.

    It has no names: those of the selection are given to its columns in their order. Without them
    the coordinates are x, y, z, other columns of X are `feature_0`, ..., the targets `target_0`,
    the parameters `theta_0`, the input functions `input_0` with the values `value_0`, ...

    Raises:
        ValueError: more than plain data (nothing is executed), another structure, or another
            number of columns than names.
        OSError: missing or truncated.
    """

    in_memory = True

    def __init__(self, path: str, selection: PointsSelection) -> None:
        self.path = self.name = path
        found = read_plain_pickle(path)
        if not isinstance(found, (list, tuple)) or not found:
            raise ValueError(f"{path} must hold a list of samples [X, Y, theta, (f_1, ...)]")
        self._samples = [self._sample(entry, number) for number, entry in enumerate(found)]
        self.about = _named(self._samples[0], selection, path)

    def __len__(self) -> int:
        return len(self._samples)

    def read_raw(self, sample: int) -> PointSample:
        stored = self._samples[sample]
        names = list(self.about.inputs)
        if len(stored.inputs) != len(names):
            raise ValueError(
                f"{self.place(sample)} has {len(stored.inputs)} input functions, others have "
                f"{len(names)}"
            )
        inputs = dict(zip(names, stored.inputs.values(), strict=True))
        targets = stored.targets if self.about.targets else stored.targets[:, :0]
        return PointSample(stored.points, targets, stored.parameters, inputs)

    def paths(self) -> list[str]:
        return [self.path]

    def _sample(self, entry: Any, number: int) -> PointSample:
        where = f"{self.path}, sample {number}"
        if not isinstance(entry, (list, tuple)) or len(entry) != 4:
            kind = f"{len(entry)} entries" if isinstance(entry, (list, tuple)) else type(entry)
            raise ValueError(f"{where} must be [X, Y, theta, (f_1, ...)], it has {kind}")
        points = _table(entry[0], f"{where}: X")
        functions = entry[3] if isinstance(entry[3], (list, tuple)) else [entry[3]]
        try:
            return PointSample(
                points=points,
                targets=points[:, :0] if entry[1] is None else _table(entry[1], f"{where}: Y"),
                parameters=np.ravel(_numbers(entry[2], f"{where}: theta")),
                inputs={
                    f"input_{j}": _table(f, f"{where}: f_{j + 1}") for j, f in enumerate(functions)
                },
            )
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error


def _named(first: PointSample, selection: PointsSelection, path: str) -> PointsDescription:
    width = first.points.shape[1]
    coordinates = selection.coordinates
    if coordinates is None:
        coordinates = tuple("xyz"[:width])
    if len(coordinates) > width:
        raise ValueError(f"{path}: X has {width} columns, coordinates names {len(coordinates)}")
    values = first.targets.shape[1]
    targets = _names(selection.targets, values, "target", f"{path}: Y")
    functions = list(first.inputs.values())
    names = _names(selection.inputs, len(functions), "input", f"{path}, input functions")
    inputs = {}
    for name, function in zip(names, functions, strict=True):
        extra = function.shape[1] - len(coordinates)
        if extra < 0:
            raise ValueError(
                f"{path}: input function {name!r} has {function.shape[1]} columns, fewer than "
                f"the coordinates {', '.join(coordinates)}"
            )
        inputs[name] = (*coordinates, *(f"value_{k}" for k in range(extra)))
    return PointsDescription(
        coordinates=coordinates,
        targets=targets,
        features=_names(selection.features, width - len(coordinates), "feature", f"{path}: X"),
        parameters=_names(selection.parameters, len(first.parameters), "theta", f"{path}: theta"),
        inputs=inputs,
    )


def _names(asked: Sequence[str] | None, count: int, default: str, where: str) -> tuple[str, ...]:
    """The names asked for, or numbered ones; ValueError when there are more or fewer columns."""
    if asked is None:
        return tuple(f"{default}_{k}" for k in range(count))
    if count == 0 and default == "target":  # data to predict
        return ()
    if len(asked) != count:
        raise ValueError(f"{where}: there are {count}, but names for {len(asked)}")
    return tuple(asked)


def _table(values: Any, what: str) -> np.ndarray:
    array = _numbers(values, what)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ValueError(f"{what} must be a table of rows, it has the shape {array.shape}")
    return array


def _numbers(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds {array.dtype}, not numbers")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
