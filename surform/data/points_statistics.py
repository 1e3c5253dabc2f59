"""Means and deviations of the columns of samples on meshes, and a name for their content."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch

from surform.data.normalizers import Normalizer
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.points_source import PointsSource
from surform.data.statistics import Moments

__all__ = ["ColumnMoments", "points_fingerprint"]

ROLES = ("points", "parameters", "targets", "inputs")


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
        parts = [m for name, m in self._found.items() if name.partition("/")[0] == role]
        columns = sum(len(part.mean) for part in parts)
        mean, std = np.zeros(columns), np.ones(columns)
        if kind == "channel" and columns:
            mean = np.concatenate([part.mean for part in parts])
            std = np.concatenate([part.std for part in parts])
            std = np.where(std <= 1e-12 * np.abs(mean), 1.0, std)
        return Normalizer(torch.from_numpy(mean), torch.from_numpy(std))

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
