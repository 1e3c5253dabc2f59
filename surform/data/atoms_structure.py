"""One structure of atoms with what is known of it, as files hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surform.data.elements import SYMBOLS

__all__ = ["LABELS", "Structure", "check_structure", "structure_of"]

LABELS = ("energy", "forces", "stress")
_SHOWN = 20  # names in a message
# [Å], a tenth of a millimetre: searches for neighbours count their cells in whole numbers
_FARTHEST = 1e6
_LARGEST = 1e30  # of labels: float32 holds them, float64 their squares


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms at their places, in Å and eV; unknown labels are NaN.

    Args:
        numbers: (n,) int64, atomic numbers.
        positions: (n, 3) float64 [Å].
        cell: (3, 3) float64, rows are lattice vectors [Å]; zeros where there are none.
        pbc: (3,) bool, which of them the structure is repeated along.
        energy: of the whole structure [eV].
        forces: (n, 3) float64 [eV/Å].
        stress: (3, 3) float64 [eV/Å^3].
        free: (n,) bool; False: held fixed, so that its force means nothing.
        where: the file and the number in it, for messages.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray
    free: np.ndarray
    where: str = "the structure"

    def __len__(self) -> int:
        """The number of atoms."""
        return len(self.numbers)

    def known(self) -> tuple[str, ...]:
        """The labels that are not NaN throughout."""
        return tuple(name for name in LABELS if not np.isnan(getattr(self, name)).all())


def structure_of(
    where: str,
    numbers: Any,
    positions: Any,
    cell: Any = None,
    pbc: Any = None,
    energy: Any = None,
    forces: Any = None,
    stress: Any = None,
    free: Any = None,
) -> Structure:
    """A structure from whatever a file holds; None is what it does not say.

    Args:
        cell: (3, 3), (1, 3, 3), or (3,) of a box. pbc: None: all three with a cell, else none.
        stress: (3, 3), or (6,) in Voigt's order xx, yy, zz, yz, xz, xy.

    Raises:
        ValueError: shapes that do not go together, and of what.
    """
    found = _array(numbers, "atomic numbers", where)
    n = len(found.reshape(-1))
    values = {
        "atomic numbers": (found.reshape(-1), (n,)),
        "positions": (_array(positions, "positions", where), (n, 3)),
        "forces": (_optional(forces, (n, 3), "forces", where), (n, 3)),
        "stress": (_full_stress(_optional(stress, (3, 3), "stress", where)), (3, 3)),
        "cell": (_full_cell(cell, where), (3, 3)),
        "marks of free atoms": (_optional(free, (n,), "marks of free atoms", where, True), (n,)),
    }
    for name, (array, shape) in values.items():
        if array.shape != shape:
            raise ValueError(
                f"{where} has {name} of shape {array.shape}, but {n} atoms need {shape}"
            )
    lattice = values["cell"][0].astype(np.float64)
    periodic = bool(lattice.any()) if pbc is None else pbc
    return Structure(
        numbers=_whole(values["atomic numbers"][0], where),
        positions=values["positions"][0].astype(np.float64),
        cell=lattice,
        pbc=np.broadcast_to(np.asarray(periodic, bool).reshape(-1), 3).copy(),
        energy=np.nan if energy is None else _number(energy, where),
        forces=values["forces"][0].astype(np.float64),
        stress=values["stress"][0].astype(np.float64),
        free=values["marks of free atoms"][0].astype(bool),
        where=where,
    )


def check_structure(
    structure: Structure, targets: Sequence[str], offered: Callable[[], Sequence[str]] = tuple
) -> None:
    """ValueError, in one sentence, where a structure makes no sense or lacks a label.

    Args:
        targets: labels that must be known.
        offered: gives names of what else the file holds, for the message.
    """
    where, numbers = structure.where, structure.numbers
    if not len(structure):
        raise ValueError(f"{where} has no atoms")
    wrong = (numbers < 1) | (numbers >= len(SYMBOLS))
    if wrong.any():
        raise ValueError(
            f"{where} has an atom of the atomic number {numbers[wrong][0]}, but elements have 1 to "
            f"{len(SYMBOLS) - 1}"
        )
    lost = ~np.isfinite(structure.positions).all(1)
    if lost.any():
        atom = int(lost.argmax())
        place = structure.positions[atom].tolist()
        raise ValueError(f"{where} has atom {atom} at {place}, which is no place")
    if not np.isfinite(structure.cell).all():
        raise ValueError(f"{where} has a cell with numbers that are not finite")
    far = max(np.abs(structure.positions).max(), np.abs(structure.cell).max())
    if far > _FARTHEST:
        raise ValueError(
            f"{where} has an atom or a lattice vector at {far:g} Å, but they must be within "
            f"{_FARTHEST:g} Å"
        )
    flat = structure.pbc & (np.linalg.norm(structure.cell, axis=1) < 1e-6)
    if flat.any():
        raise ValueError(
            f"{where} is periodic along lattice vector {int(flat.argmax())}, which is zero: give "
            "the cell, or set pbc to false there"
        )
    for name in LABELS:
        _check_label(structure, name, name in targets, offered)


def _check_label(
    structure: Structure, name: str, wanted: bool, offered: Callable[[], Sequence[str]]
) -> None:
    values, where = np.asarray(getattr(structure, name)), structure.where
    if not wanted and np.isnan(values).all():
        return
    if np.isnan(values).all():
        names = ", ".join(map(str, list(offered())[:_SHOWN]))
        held = f" (it holds {names})" if names else ""
        raise ValueError(
            f"{where} has no {name}{held}: set data.keys.{name} to its name there, or leave {name} "
            "out of data.targets"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{where} has {name} with numbers that are not finite")
    largest = float(np.abs(values).max(initial=0.0))
    if largest > _LARGEST:
        raise ValueError(
            f"{where} has {name} of {largest:.3g}, but nothing above {_LARGEST:.0g} can be learnt"
        )


def _array(values: Any, what: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray("ragged")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where} has {what} that are no numbers: {str(values)[:40]}")
    return array


def _optional(
    values: Any, shape: tuple[int, ...], what: str, where: str, fill: Any = np.nan
) -> np.ndarray:
    return np.full(shape, fill) if values is None else _array(values, what, where)


def _whole(numbers: np.ndarray, where: str) -> np.ndarray:
    rounded = np.nan_to_num(numbers.astype(np.float64)).round()
    if not np.array_equal(rounded, numbers):
        raise ValueError(f"{where} has atomic numbers that are not whole")
    return rounded.astype(np.int64)


def _number(energy: Any, where: str) -> float:
    array = _array(energy, "an energy", where)
    if array.size != 1:
        raise ValueError(f"{where} has {array.size} energies, but one is wanted")
    return float(array.reshape(()))


def _full_cell(cell: Any, where: str) -> np.ndarray:
    if cell is None:
        return np.zeros((3, 3))
    array = _array(cell, "a cell", where)
    if array.shape == (3,):
        return np.diag(array)
    return array[0] if array.shape == (1, 3, 3) else array


def _full_stress(stress: np.ndarray) -> np.ndarray:
    if stress.shape == (6,):
        return stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    return stress.reshape(3, 3) if stress.size == 9 else stress
