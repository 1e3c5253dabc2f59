"""Open structures of atoms from whatever files hold them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surform.data.atoms_arrays import hdf5_atoms, holds_atoms, npz_atoms
from surform.data.atoms_ase import DatabaseAtoms, XYZAtoms
from surform.data.atoms_lmdb import LMDBAtoms
from surform.data.atoms_source import AtomsReading, AtomsSource, JoinedAtoms
from surform.data.faults import parsing, refuse_unreadable
from surform.data.fields import expand_paths

__all__ = ["SUFFIXES", "holds_structures", "open_atoms"]

_READERS: dict[str, Callable[[str, AtomsReading], AtomsSource]] = {
    ".xyz": XYZAtoms,
    ".extxyz": XYZAtoms,
    ".db": DatabaseAtoms,
    ".lmdb": LMDBAtoms,
    ".aselmdb": LMDBAtoms,
    ".h5": hdf5_atoms,
    ".hdf5": hdf5_atoms,
    ".nc": hdf5_atoms,
    ".npz": npz_atoms,
}
SUFFIXES = tuple(_READERS)


def open_atoms(path: Any, reading: AtomsReading | None = None) -> AtomsSource:
    """Open structures lazily; several files are joined in their order.

    Args:
        path: a file, a folder of files of one format, a glob pattern, or a list of these.
        reading: what is read, in which units; by default what files call by the usual names, in eV
            and Å.

    Raises:
        FileNotFoundError, OSError, ValueError: what cannot be read, in one sentence.
    """
    reading = reading or AtomsReading()
    paths = [file for one in expand_paths(path) for file in _files(one)]
    sources: list[AtomsSource] = []
    for one in paths:
        with parsing(one):
            sources.append(_READERS[Path(one).suffix.lower()](one, reading))
    return sources[0] if len(sources) == 1 else JoinedAtoms(sources)


def holds_structures(path: str) -> bool:
    """Whether a path holds structures of atoms: a file of them, or a folder of such files."""
    if os.path.isdir(path):
        found = [name for name in os.listdir(path) if name.lower().endswith(_OWN)]
        return bool(found)
    return path.lower().endswith(_OWN) or (
        path.lower().endswith((".h5", ".hdf5", ".nc")) and holds_atoms(path)
    )


# suffixes of no other data that are read here
_OWN = (".xyz", ".extxyz", ".db", ".lmdb", ".aselmdb")


def _files(path: str) -> list[str]:
    """The files of a folder, or the path itself."""
    refuse_unreadable(path)
    if not os.path.isdir(path):
        if Path(path).suffix.lower() not in _READERS:
            raise ValueError(
                f"cannot open {path}: structures of atoms are read from {', '.join(SUFFIXES)}"
            )
        return [path]
    found = sorted(p for p in Path(path).iterdir() if p.suffix.lower() in _READERS)
    if not found:
        raise FileNotFoundError(
            f"the folder {path} holds no structures of atoms, which are in {', '.join(SUFFIXES)}"
        )
    for one in found:
        refuse_unreadable(str(one))
    return list(map(str, found))
