"""Structures with their labels into files: extended XYZ, or arrays in HDF5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surform.data.atoms_structure import Structure
from surform.data.elements import SYMBOLS

__all__ = ["write_hdf5", "write_xyz"]

_CHUNK = 256  # structures that are written at a time
_UNITS = {
    "positions": "Å", "cell": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å^3",
}  # fmt: skip


def write_xyz(path: Path, structures: Iterable[Structure]) -> None:
    """Frames of extended XYZ, numbers with all digits; labels that are unknown are left out."""
    with open(path, "w", encoding="utf-8") as file:
        for structure in structures:
            file.write("\n".join(_frame(structure)) + "\n")


def write_hdf5(path: Path, structures: Iterable[Structure]) -> None:
    """Arrays numbers, positions, forces and free of all atoms, where structure i has the rows
    ptr[i] to ptr[i + 1], and cell, pbc, energy and stress of all structures.
    """
    rest = iter(structures)
    with h5py.File(path, "w") as file:
        file["ptr"] = np.zeros(1, np.int64)
        atoms = 0
        ptr = [0]
        while part := list(islice(rest, _CHUNK)):
            for structure in part:
                atoms += len(structure)
                ptr.append(atoms)
            for name in ("numbers", "positions", "forces", "free"):
                _append(file, name, np.concatenate([getattr(s, name) for s in part]))
            for name in ("cell", "pbc", "energy", "stress"):
                _append(file, name, np.stack([np.asarray(getattr(s, name)) for s in part]))
        del file["ptr"]
        file["ptr"] = np.array(ptr)
        # readers take this name for atoms that move
        file.move("free", "move_mask")
        for name, unit in _UNITS.items():
            file[name].attrs["units"] = unit


def _append(file: Any, name: str, rows: np.ndarray) -> None:
    if name not in file:
        file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]), chunks=True)
        return
    held = file[name]
    held.resize(len(held) + len(rows), axis=0)
    held[-len(rows) :] = rows


def _frame(structure: Structure) -> Iterator[str]:
    yield str(len(structure))
    columns = [_text(structure.positions)]
    properties = "species:S:1:pos:R:3"
    if np.isfinite(structure.forces).all():
        columns.append(_text(structure.forces))
        properties += ":forces:R:3"
    if not structure.free.all():
        columns.append(["T" if free else "F" for free in structure.free])
        properties += ":move_mask:L:1"
    words = [f"Properties={properties}"]
    if structure.cell.any():
        words.insert(0, f'Lattice="{" ".join(map(_number, structure.cell.flat))}"')
    words.append('pbc="{}"'.format(" ".join("T" if axis else "F" for axis in structure.pbc)))
    if np.isfinite(structure.energy):
        words.append(f"energy={_number(structure.energy)}")
    if np.isfinite(structure.stress).all():
        words.append(f'stress="{" ".join(map(_number, structure.stress.flat))}"')
    yield " ".join(words)
    for number, *values in zip(structure.numbers.tolist(), *columns, strict=True):
        yield " ".join((SYMBOLS[number], *values))


def _text(rows: np.ndarray) -> list[str]:
    return [" ".join(map(_number, row)) for row in rows]


def _number(value: float) -> str:
    return repr(float(value))
