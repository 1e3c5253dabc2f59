"""Is a sample on a mesh whole? One sentence that names file, variable and point when it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription

__all__ = ["check_sample"]


def check_sample(sample: PointSample, about: PointsDescription, where: str) -> None:
    """ValueError unless a sample has the described columns, and only finite numbers.

    Args:
        sample: of numpy arrays or tensors on the CPU.
        about: names of its columns; targets may be absent (0 columns).
        where: names the sample in messages, e.g. "flow.zarr, sample 3".
    """
    if not len(sample.points):
        raise ValueError(f"{where} has no points")
    _check(where, "the points", sample.points, about.columns)
    if sample.targets.shape[1] or not about.targets:
        _check(where, "the targets", sample.targets, about.targets)
    _check(where, "the sample", sample.parameters[None], about.parameters, "parameter")
    if list(sample.inputs) != list(about.inputs):
        raise ValueError(
            f"{where} has the input functions {', '.join(sample.inputs) or 'none'}, others have "
            f"{', '.join(about.inputs) or 'none'}"
        )
    for name, columns in about.inputs.items():
        if not len(sample.inputs[name]):
            raise ValueError(f"{where}: input function {name!r} is empty, it needs points")
        _check(where, f"input function {name!r}", sample.inputs[name], columns)
    for name, values in {"points": sample.weights, **sample.input_weights}.items():
        if values is not None:
            _check_weights(where, name, np.asarray(values))


def _check(where: str, what: str, values: Any, names: Sequence[str], unit: str = "") -> None:
    array = np.asarray(values)
    if array.shape[1] != len(names):
        raise ValueError(
            f"{where}: {what} have {array.shape[1]} columns where {len(names)} are described "
            f"({', '.join(names) or 'none'})"
        )
    if np.isfinite(array).all():
        return
    row, column = np.argwhere(~np.isfinite(array))[0]
    place = "" if unit else f" at index {row} of {what.removeprefix('the ')}"
    raise ValueError(f"{where}: {names[column]} is {array[row, column]}{place}")


def _check_weights(where: str, name: str, weights: np.ndarray) -> None:
    of = "" if name == "points" else f" of input function {name!r}"
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise ValueError(
            f"{where}: the weight {weights[wrong[0]]:g}{of} at index {wrong[0]} is no measure: "
            "weights must be finite and not negative"
        )
    if not weights.sum() > 0:
        raise ValueError(f"{where}: all weights{of} are zero")
