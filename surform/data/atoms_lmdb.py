"""Structures of atoms in LMDB files of fairchem and ocpmodels."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surform.data.atoms_pickle import read_graph
from surform.data.atoms_source import AtomsReading, AtomsSource
from surform.data.atoms_structure import Structure, structure_of
from surform.data.extras import require_extra
from surform.data.faults import first_line
from surform.data.open_files import OpenFiles

__all__ = ["LMDBAtoms"]

_FILES = 256
_NAMES = {
    "numbers": ("atomic_numbers", "numbers"),
    "positions": ("pos", "positions"),
    "cell": ("cell",),
    "pbc": ("pbc",),
    "energy": ("energy", "y"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
}


class LMDBAtoms(AtomsSource):
    """Entries of one LMDB file, in either format of fairchem.

    Those of its ASE databases (.aselmdb) are compressed JSON. Those of ocpmodels are pickled graphs
    of PyTorch Geometric, of which plain values and tensors are read and nothing is executed; their
    structures are periodic along all vectors of their cell unless they say otherwise.

    Raises:
        ValueError: it is no LMDB file, or empty.
        ImportError: lmdb is not installed.
    """

    def __init__(self, path: str, reading: AtomsReading) -> None:
        super().__init__(path, reading)
        self._keys = self._entries()

    def __len__(self) -> int:
        return len(self._keys)

    def raw(self, number: int) -> Structure:
        values = self._values(number)
        found = {
            role: next((values[n] for n in names if values.get(n) is not None), None)
            for role, names in _NAMES.items()
        }
        for role in found.keys() & self.reading.keys.keys():
            found[role] = values.get(self.reading.keys[role])
        for role in ("numbers", "positions"):
            if found[role] is None:
                held = ", ".join(values) or "nothing"
                raise ValueError(f"{self.place(number)} has no {role}: it holds {held}")
        return structure_of(self.place(number), free=_free(values, found["numbers"]), **found)

    def offered(self, number: int) -> Sequence[str]:
        own = {name for names in _NAMES.values() for name in names}
        return [name for name in self._values(number) if name not in own]

    def _entries(self) -> list[bytes]:
        """Keys of structures: numbers, in the order of these."""
        length = self._get(b"length")
        if length is not None:
            count = read_graph(length, f"{self.name}, length")
            held = _ENVIRONMENTS[self.name]["file"].stat()["entries"]
            if not isinstance(count, int) or not 0 <= count <= held:
                raise ValueError(
                    f"{self.name} says that it holds {str(count)[:40]} structures, but has {held} "
                    "entries"
                )
            keys = [str(number).encode() for number in range(count)]
        else:
            with _ENVIRONMENTS[self.name]["file"].begin() as read:
                listed = [key for key in read.cursor().iternext(values=False) if key.isdigit()]
            keys = sorted(listed, key=int)
        if not keys:
            raise ValueError(f"{self.name} holds no structures")
        return keys

    def _values(self, number: int) -> dict[str, Any]:
        where = self.place(number)
        payload = self._get(self._keys[number])
        if payload is None:
            raise ValueError(f"{where} is missing, of {len(self)} that the file says it holds")
        if payload[:1] == b"\x78":  # zlib
            return _from_json(payload, where)
        found = read_graph(payload, where)
        if not isinstance(found, dict):
            raise ValueError(f"{where} is no structure but {type(found).__name__}")
        if found.get("pbc") is None and np.any(found.get("cell", 0)):
            found["pbc"] = True
        return found

    def _get(self, key: bytes) -> bytes | None:
        try:
            with _ENVIRONMENTS[self.name]["file"].begin() as read:
                return read.get(key)
        except Exception as error:  # lmdb has errors of its own, for damaged pages too
            raise OSError(f"{self.name} cannot be read ({first_line(error)})") from error


def _open(path: str) -> Mapping[str, Any]:
    lmdb = require_extra("lmdb", "atomistic", f"reading {path}")
    try:
        file = lmdb.open(
            path, subdir=False, readonly=True, lock=False, readahead=False, max_readers=1
        )
    except lmdb.Error as error:
        raise OSError(f"{path} is no LMDB file that can be read ({first_line(error)})") from error
    # the file is mapped to memory: what lies behind its end would end this process
    if os.path.getsize(path) < (file.info()["last_pgno"] + 1) * file.stat()["psize"]:
        raise OSError(f"{path} is truncated: it ends before the data do, copy or download it again")
    return {"file": file}


# of the whole process: LMDB refuses to open a file twice
_ENVIRONMENTS = OpenFiles(_open, _FILES)


def _from_json(payload: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(zlib.decompress(payload), object_hook=_array)
    except (ValueError, TypeError, zlib.error) as error:  # TypeError: arrays of no known kind
        raise OSError(f"{where} is damaged ({first_line(error)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where} is no structure but {type(values).__name__}")
    more = {**(values.get("key_value_pairs") or {}), **(values.get("data") or {})}
    return {**more, **values}


def _array(entry: dict[str, Any]) -> Any:
    """Arrays as ASE writes them; other objects as they are."""
    if "__ndarray__" not in entry:
        return entry
    shape, kind, values = entry["__ndarray__"]
    return np.array(values, np.dtype(kind)).reshape(shape)


def _free(values: Mapping[str, Any], numbers: Any) -> np.ndarray | None:
    if values.get("fixed") is not None:
        return np.asarray(values["fixed"]) == 0
    free = np.ones(np.size(numbers), bool)
    for constraint in values.get("constraints") or ():
        if isinstance(constraint, dict) and constraint.get("name") == "FixAtoms":
            free[np.asarray(constraint["kwargs"]["indices"], int)] = False
    return free
