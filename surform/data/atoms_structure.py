"""One structure of atoms with what is known of it, as files hold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Structure"]


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
