"""Structures of atoms in arrays: trajectories, or molecules of any size, in HDF5 and npz files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from surform.data.atoms_source import AtomsReading, AtomsSource
from surform.data.atoms_structure import Structure, structure_of
from surform.data.faults import closest, first_line
from surform.data.hdf5 import OpenHDF5
from surform.data.heaps import require_sound_heaps
from surform.data.open_files import OpenFiles

__all__ = ["ArrayAtoms", "hdf5_atoms", "holds_atoms", "npz_atoms"]

# what each array may be called; the second group of names is that of MD17 and rMD17
_NAMES: dict[str, tuple[str, ...]] = {
    "numbers": ("numbers", "atomic_numbers", "z", "nuclear_charges", "species"),
    "positions": ("positions", "coordinates", "R", "coords", "pos"),
    "energy": ("energy", "energies", "E"),
    "forces": ("forces", "force", "F"),
    "stress": ("stress",),
    "cell": ("cell", "lattice"),
    "pbc": ("pbc",),
    "free": ("move_mask",),
    "fixed": ("fixed",),
    "ptr": ("ptr",),
}
# shapes of what is the same for all structures
_SHARED = {"cell": ((3, 3), (3,)), "pbc": ((3,), ())}
_FILES = 8


class ArrayAtoms(AtomsSource):
    """Arrays of one of two layouts, of T structures.

    A trajectory: numbers (n) or (T, n), positions (T, n, 3), energy (T), forces (T, n, 3). Ragged:
    ptr (T + 1), numbers (N), positions (N, 3), energy (T), forces (N, 3); the atoms of structure i
    are ptr[i] to ptr[i + 1]. Either may have cell (3, 3) or (T, 3, 3), pbc (3) or (T, 3), stress
    (T, 3, 3) or (T, 6), and move_mask or fixed, shaped as the numbers.

    Args:
        path: of the file.
        reading: what is read; a key may be the path of an array in a group, such as "props/U0".
        shapes: of the arrays in the file, by name.
        files: opens the file as a mapping of arrays.
        attributes: of the file.

    Raises:
        ValueError: arrays that are missing or do not go together.
    """

    def __init__(
        self,
        path: str,
        reading: AtomsReading,
        shapes: Mapping[str, tuple[int, ...]],
        files: OpenFiles,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(path, reading)
        self._files, self._shapes = files, dict(shapes)
        self._attributes = dict(attributes or {})
        self._names = self._find_names()
        self._ptr = self._pointers()
        self._count = self._shape("positions")[0] if self._ptr is None else len(self._ptr) - 1
        self._check_shapes()

    def __len__(self) -> int:
        return self._count

    def raw(self, number: int) -> Structure:
        rows = number if self._ptr is None else slice(*self._ptr[number : number + 2].tolist())
        found = {
            name: self._read(name, rows if name in ("positions", "forces") else number)
            for name in ("positions", "forces", "energy", "stress")
            if name in self._names
        }
        per_atom = {n: self._per_atom(n, rows) for n in ("numbers", "free", "fixed")}
        if per_atom["fixed"] is not None:
            per_atom["free"] = ~np.asarray(per_atom["fixed"], bool)
        del per_atom["fixed"]
        fitting = {name: self._lattice(name, number) for name in ("cell", "pbc")}
        return structure_of(self.place(number), **per_atom, **found, **fitting)

    def offered(self, number: int) -> Sequence[str]:
        return [name for name in self._shapes if name not in self._names.values()]

    def sizes(self) -> np.ndarray | None:
        if self._ptr is not None:
            return np.diff(self._ptr)
        return np.full(len(self), self._shape("positions")[1])

    def provenance(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._attributes.items()}

    def _find_names(self) -> dict[str, str]:
        found = {}
        for role, names in _NAMES.items():
            asked = self.reading.keys.get(role)
            if asked is not None and asked not in self._shapes:
                raise ValueError(
                    f"{self.name} has no {asked!r} (keys.{role}): {closest(asked, self._shapes)}"
                )
            name = asked or next((n for n in names if n in self._shapes), None)
            if name is not None:
                found[role] = name
        for role in ("numbers", "positions"):
            if role not in found:
                raise ValueError(
                    f"{self.name} has no {role}: it holds {', '.join(self._shapes) or 'nothing'}, "
                    f"and data.keys.{role} can name another array"
                )
        return found

    def _pointers(self) -> np.ndarray | None:
        shape = self._shape("positions")
        if len(shape) == 3:
            return None
        if "ptr" not in self._names:
            raise ValueError(
                f"{self.name} has positions of shape {shape}, but needs (T, n, 3) of a trajectory, "
                "or ptr beside (N, 3)"
            )
        ptr = np.asarray(self._read("ptr", ...), np.int64)
        atoms = shape[0]
        if (
            ptr.ndim != 1
            or len(ptr) < 1
            or ptr[0] != 0
            or ptr[-1] != atoms
            or (np.diff(ptr) < 0).any()
        ):
            raise ValueError(
                f"{self.name} has a ptr that does not rise from 0 to {atoms}, the number of atoms"
            )
        return ptr

    def _check_shapes(self) -> None:
        count, shape = len(self), self._shape("positions")
        atoms = [shape[:1]] if self._ptr is not None else [shape[1:2], shape[:2]]
        valid = {
            "numbers": atoms,
            "positions": [(*shape[:-1], 3)],
            "forces": [(*shape[:-1], 3)],
            "energy": [(count,), (count, 1)],
            "stress": [(count, 3, 3), (count, 6), (count, 9)],
            "cell": [(3, 3), (count, 3, 3), (count, 3), (3,)],
            "pbc": [(3,), (count, 3), (count,), ()],
            "free": atoms,
            "fixed": atoms,
        }
        for role, shapes in valid.items():
            if role in self._names and self._shape(role) not in shapes:
                raise ValueError(
                    f"{self.name} has {self._names[role]} of shape {self._shape(role)}, but needs "
                    f"{' or '.join(map(str, shapes))} beside {count} structures"
                )
        if not count:
            raise ValueError(f"{self.name} holds no structures")

    def _shape(self, role: str) -> tuple[int, ...]:
        return self._shapes[self._names[role]]

    def _per_atom(self, role: str, rows: Any) -> Any:
        if role not in self._names:
            return None
        fixed = self._ptr is None and len(self._shape(role)) == 1
        return self._read(role, ... if fixed else rows)

    def _lattice(self, role: str, number: int) -> Any:
        if role not in self._names:
            return None
        one = self._shape(role) in _SHARED[role]
        return self._read(role, ... if one else number)

    def _read(self, role: str, rows: Any) -> np.ndarray:
        name = self._names[role]
        try:
            return np.asarray(self._files[self.name][name][rows])
        except OSError as error:
            raise OSError(f"{self.name}: {name} cannot be read ({first_line(error)})") from error


def hdf5_atoms(path: str, reading: AtomsReading) -> ArrayAtoms:
    """Structures in an HDF5 file; OSError where it is truncated or no HDF5."""
    files = OpenFiles(OpenHDF5, _FILES)
    opened: Any = files[path]
    require_sound_heaps(path)
    return ArrayAtoms(path, reading, _shapes(opened.file), files, opened.file.attrs)


def npz_atoms(path: str, reading: AtomsReading) -> ArrayAtoms:
    """Structures in an .npz file, such as those of MD17; nothing pickled is read."""
    files = OpenFiles(_open_npz, 1)
    arrays = files[path]
    return ArrayAtoms(path, reading, {name: array.shape for name, array in arrays.items()}, files)


def holds_atoms(path: str) -> bool:
    """Whether an HDF5 file has atomic numbers and positions."""
    if not os.path.isfile(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return all(any(n in file for n in _NAMES[role]) for role in ("numbers", "positions"))
    except (OSError, RuntimeError, KeyError):  # damaged: whoever opens it says so
        return False


def _shapes(file: Any) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = entry.shape

    file.visititems(visit)
    return found


def _open_npz(path: str) -> dict[str, np.ndarray]:
    found = {}
    try:
        if not zipfile.is_zipfile(path):
            raise OSError("it is no zip file, or has no end")
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    found[name] = file[name]
                except ValueError:  # pickled objects, such as the names that MD17 has
                    continue
    except Exception as error:  # a damaged file can fail in any way
        raise OSError(f"{path} is no whole .npz file ({first_line(error)})") from error
    return found
