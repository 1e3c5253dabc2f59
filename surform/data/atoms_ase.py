"""Structures of atoms that ASE reads: extended XYZ, and its databases."""

from __future__ import annotations

import io
import re
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from surform.data.atoms_source import AtomsReading, AtomsSource
from surform.data.atoms_structure import LABELS, Structure, structure_of
from surform.data.extras import require_extra
from surform.data.faults import first_line
from surform.data.open_files import OpenFiles

__all__ = ["DatabaseAtoms", "XYZAtoms"]

_FILES = 8


class XYZAtoms(AtomsSource):
    """Frames of an extended XYZ file, each read when it is needed.

    Energy, forces and stress are what ASE takes for such, or info and columns that are named; a
    virial stands for a stress. A column move_mask or fixed says which atoms are held.

    Raises:
        OSError: the file ends within a frame.
        ValueError: it is no XYZ, or holds no frame.
    """

    def __init__(self, path: str, reading: AtomsReading) -> None:
        super().__init__(path, reading)
        require_extra("ase", "atomistic", f"reading {path}")
        self._places, self._sizes = _frames(path)

    def __len__(self) -> int:
        return len(self._sizes)

    def raw(self, number: int) -> Structure:
        return _structure(self._atoms(number), self.reading.keys, self.place(number))

    def offered(self, number: int) -> Sequence[str]:
        return _names(self._atoms(number))

    def sizes(self) -> np.ndarray | None:
        return self._sizes

    def _atoms(self, number: int) -> Any:
        from ase.io import read

        with open(self.name, "rb") as file:
            file.seek(int(self._places[number]))
            text = file.read(int(self._places[number + 1] - self._places[number]))
        _check_columns(text, self.place(number))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of columns that are not read
                return read(io.StringIO(text.decode()), format="extxyz", index=0)
        except KeyError as error:
            raise ValueError(f"{self.place(number)}: unknown element {error.args[0]!r}") from error
        except Exception as error:  # a damaged frame can fail in any way
            raise ValueError(f"{self.place(number)} cannot be read: {first_line(error)}") from error


class DatabaseAtoms(AtomsSource):
    """Rows of an ASE database in SQLite (.db), by their ids.

    Raises:
        ValueError: it is no such database, or empty.
    """

    def __init__(self, path: str, reading: AtomsReading) -> None:
        super().__init__(path, reading)
        require_extra("ase", "atomistic", f"reading {path}")
        try:
            with sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True) as file:
                rows = file.execute("SELECT id, natoms FROM systems ORDER BY id").fetchall()
        except sqlite3.Error as error:
            raise ValueError(f"{path} is no ASE database: {first_line(error)}") from error
        if not rows:
            raise ValueError(f"{path} holds no structures")
        self._ids, self._sizes = np.array(rows, np.int64).T
        self._files = OpenFiles(_connect, _FILES)

    def __len__(self) -> int:
        return len(self._ids)

    def raw(self, number: int) -> Structure:
        row = self._row(number)
        found = row.toatoms()
        found.info.update(row.key_value_pairs)
        found.info.update(row.data)
        return _structure(found, self.reading.keys, self.place(number))

    def offered(self, number: int) -> Sequence[str]:
        row = self._row(number)
        return [*row.key_value_pairs, *row.data]

    def sizes(self) -> np.ndarray | None:
        return self._sizes

    def _row(self, number: int) -> Any:
        try:
            return self._files[self.name]["database"].get(id=int(self._ids[number]))
        except Exception as error:  # damaged rows can fail in any way
            raise ValueError(f"{self.place(number)} cannot be read: {first_line(error)}") from error


def _connect(path: str) -> Mapping[str, Any]:
    from ase.db import connect

    return {"database": connect(path)}


def _structure(atoms: Any, keys: Mapping[str, str], where: str) -> Structure:
    results = atoms.calc.results if atoms.calc is not None else {}
    found = {name: _label(atoms, results, keys.get(name, name), where) for name in LABELS}
    virial = atoms.info.get(keys.get("virial", "virial"))
    if found["stress"] is None and virial is not None and atoms.cell.rank == 3:
        found["stress"] = -np.reshape(virial, (3, 3)) / atoms.get_volume()
    return structure_of(
        where,
        atoms.numbers,
        atoms.positions,
        cell=np.asarray(atoms.cell),
        pbc=atoms.pbc,
        free=_free(atoms),
        **found,
    )


def _label(atoms: Any, results: Mapping[str, Any], name: str, where: str) -> Any:
    for held in (results, atoms.info, atoms.arrays):
        if name in held:
            return held[name]
    return None


def _names(atoms: Any) -> list[str]:
    """What can be a label: names of info and columns that are no part of the structure."""
    own = ("numbers", "positions", "tags", "initial_charges", "masses")
    results = atoms.calc.results if atoms.calc is not None else {}
    return [n for held in (results, atoms.info, atoms.arrays) for n in held if n not in own]


def _free(atoms: Any) -> np.ndarray:
    from ase.constraints import FixAtoms, FixCartesian

    free = np.ones(len(atoms), bool)
    for constraint in atoms.constraints:
        whole = isinstance(constraint, FixCartesian) and np.all(constraint.mask)
        if isinstance(constraint, FixAtoms) or whole:
            free[constraint.index] = False
    if "fixed" in atoms.arrays:
        free &= ~np.asarray(atoms.arrays["fixed"], bool)
    return free


def _frames(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Where each frame begins, with the end, and how many atoms each has."""
    places, sizes, end = [], [], 0
    with open(path, "rb") as file:
        for place, line in _lines(file):
            if not line.strip():
                continue
            number = len(sizes)
            if not line.strip().isdigit():
                shown = line.decode(errors="replace").strip()[:40]
                raise ValueError(
                    f"{path} is no XYZ file: frame {number} begins with {shown!r}, but must begin "
                    "with its number of atoms"
                )
            places.append(place)
            sizes.append(int(line))
            for found in range(sizes[-1] + 1):
                if not file.readline():
                    raise OSError(
                        f"{path} is truncated: frame {number} has {sizes[-1]} atoms, but the file "
                        f"ends after {max(found - 1, 0)} of them"
                    )
            end = file.tell()
    if not sizes:
        raise ValueError(f"{path} holds no structures")
    return np.array([*places, end]), np.array(sizes)


def _check_columns(frame: bytes, where: str) -> None:
    """Columns that a frame promises are fewer than its characters: ASE makes room for all."""
    named = re.search(rb'properties\s*=\s*"?([^\s"]+)', frame, re.IGNORECASE)
    counts = [int(part[:20]) for part in named[1].split(b":") if part.isdigit()] if named else []
    if sum(counts) > len(frame):
        raise ValueError(
            f"{where} says that each atom has {str(sum(counts))[:40]} columns, more than the frame "
            "has characters"
        )


def _lines(file: Any) -> Iterator[tuple[int, bytes]]:
    """Lines with the places where they begin; others may be read between them."""
    while True:
        place = file.tell()
        line = file.readline()
        if not line:
            return
        yield place, line
