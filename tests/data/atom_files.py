"""Small atomistic data for tests: a molecule that swings in a field of springs, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["NUMBERS", "REST", "frames", "write_hdf5", "write_xyz"]

NUMBERS = np.array([8, 1, 1])
REST = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
_STIFF = 30.0  # [eV/Å^2]
_OFFSET = -137.0  # [eV]


def frames(count: int = 40, step: float = 0.15, seed: int = 0) -> dict[str, np.ndarray]:
    """A trajectory in which energies and forces belong together: positions, energy, forces."""
    draw = np.random.default_rng(seed)
    phase, axis = draw.random((2, 3, 3))
    time = step * np.arange(count)[:, None, None]
    moved = 0.06 * np.sin(time + 6 * phase) * (0.5 + axis)
    return {
        "positions": REST + moved,
        "energy": _OFFSET + 0.5 * _STIFF * (moved**2).sum((1, 2)),
        "forces": -_STIFF * moved,
    }


def write_hdf5(path: Path, **changes: Any) -> Path:
    """A trajectory in HDF5; None leaves an array out."""
    arrays = {"atomic_numbers": NUMBERS, **frames()} | changes
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
    return path


def write_xyz(path: Path, count: int = 40, **names: str) -> Path:
    """The same in extended XYZ; names are what labels are called there."""
    energy, forces = names.get("energy", "energy"), names.get("forces", "forces")
    found, lines = frames(count), []
    for place, value, force in zip(*found.values(), strict=True):
        lines += ["3", f'Properties=species:S:1:pos:R:3:{forces}:R:3 {energy}={value} pbc="F F F"']
        for symbol, one, pull in zip("OHH", place, force, strict=True):
            lines.append(" ".join((symbol, *map(repr, map(float, (*one, *pull))))))
    path.write_text("\n".join(lines) + "\n")
    return path
