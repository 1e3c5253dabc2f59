"""Means and deviations of the columns of samples on meshes, and a name for their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from surform.data.normalizers import Normalizer
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.points_source import PointsSource
from surform.data.statistics import Moments

__all__ = ["ColumnMoments", "points_fingerprint"]

_LEVELS = 250  # numbers that a type must tell apart within one deviation


class ColumnMoments:
    """Running moments of each column, over all points of all samples that were added."""

    def __init__(self) -> None:
        self._found: dict[str, Moments] = {}

    def add(self, sample: PointSample) -> None:
        """Take the columns of one sample of numpy arrays."""
        self._merge("points", sample.points)
        self._merge("targets", sample.targets)
        self._merge("parameters", sample.parameters[None])
        for name, values in sample.inputs.items():
            self._merge(f"inputs/{name}", values)

    def normalizer(self, role: str, kind: str) -> Normalizer:
        """A fitted normaliser of a role's columns; those of all input functions side by side.

        Args:
            role: "points", "parameters", "targets" or "inputs".
            kind: "channel" standardises each column, "none" leaves it. A constant column becomes 0.
        """
        mean, std = self._columns(role)
        if kind == "none":
            mean, std = np.zeros_like(mean), np.ones_like(std)
        return Normalizer(torch.from_numpy(mean), torch.from_numpy(np.where(std == 0, 1.0, std)))

    def check(self, role: str, names: Sequence[str], dtype: torch.dtype) -> None:
        """ValueError when a column's numbers differ less than `dtype` tells apart.

        Args:
            role: "points" or "targets"; a target must differ at all.
            names: of its columns.
        """
        for name, mean, std in zip(names, *self._columns(role), strict=True):
            if role == "targets" and std == 0:
                raise ValueError(
                    f"the target {name!r} is {mean:g} at all points of all training samples: leave "
                    "it out, there is nothing to learn"
                )
            if 0 < std < _LEVELS * torch.finfo(dtype).eps * abs(mean):
                kind = str(dtype).removeprefix("torch.")
                raise ValueError(
                    f"{name} differs by {std:.2g} about {mean:.6g} only, which {kind} hardly tells "
                    "apart: set dtype to float64, or subtract a constant"
                )

    def _columns(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations of a role's columns; 0 deviates what does by rounding only."""
        parts = [m for name, m in self._found.items() if name.partition("/")[0] == role]
        mean = np.concatenate([part.mean for part in parts] or [np.empty(0)])
        std = np.concatenate([part.std for part in parts] or [np.empty(0)])
        return mean, np.where(std <= 1e-12 * np.abs(mean), 0.0, std)

    def _merge(self, name: str, values: np.ndarray) -> None:
        found = Moments.of(values, 0)
        self._found[name] = self._found[name].merge(found) if name in self._found else found


def points_fingerprint(source: PointsSource) -> str:
    """sha256 over names, units and the first, middle and last sample, hexadecimal.

    It costs the same for data of any size, tells data sets apart and is no proof against
    tampering. Where the files lie, and their format, do not matter.
    """
    about: PointsDescription = source.about
    digest = hashlib.sha256()
    header = {
        "variables": list(about.variables()),
        "inputs": {name: list(columns) for name, columns in about.inputs.items()},
        "units": dict(sorted(about.units.items())),
        "weighted": list(about.weighted),
        "samples": len(source),
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for number in sorted({0, len(source) // 2, len(source) - 1}):
        sample = source.read(number)
        arrays = [sample.points, sample.targets, sample.parameters, *sample.inputs.values()]
        for values in arrays:
            digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return digest.hexdigest()
