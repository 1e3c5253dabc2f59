"""A finished run of molecular dynamics as arrays with units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Course"]


@dataclass(frozen=True, eq=False)
class Course:
    """Frames of one structure.

    atoms: the structure, with its constraints. frames: records of `FramesFile`; may lie on disk.
    timestep: [fs].
    """

    atoms: Atoms
    frames: np.ndarray
    timestep: float

    @cached_property
    def time(self) -> np.ndarray:
        """[ps], (T,)."""
        return self.frames["step"] * self.timestep / 1000

    @cached_property
    def kinetic(self) -> np.ndarray:
        """Kinetic energies [eV], (T,)."""
        masses = self.atoms.get_masses()
        return np.array(
            [0.5 * ((p**2).sum(1) / masses).sum() for p in self.frames["momenta"]], dtype=float
        )

    @property
    def potential(self) -> np.ndarray:
        """[eV], (T,)."""
        return np.array(self.frames["energy"])

    @property
    def degrees_of_freedom(self) -> int:
        """That share the kinetic energy: three of each atom, less what constraints take."""
        return int(self.atoms.get_number_of_degrees_of_freedom())

    @property
    def temperature(self) -> np.ndarray:
        """[K], (T,)."""
        from ase import units

        return 2 * self.kinetic / (max(self.degrees_of_freedom, 1) * units.kB)

    def moved_to(self, frame: int) -> Atoms:
        """The structure with the positions of a frame."""
        atoms = self.atoms.copy()
        atoms.set_positions(self.frames[frame]["positions"], apply_constraint=False)
        return atoms

    def structures(self) -> Iterator[Atoms]:
        """Every frame as ASE's atoms, with energy, forces, momenta, step and time."""
        from ase.calculators.singlepoint import SinglePointCalculator

        for frame, record in enumerate(self.frames):
            atoms = self.moved_to(frame)
            atoms.set_momenta(record["momenta"], apply_constraint=False)
            step = int(record["step"])
            atoms.info |= {"step": step, "time_fs": step * self.timestep}
            atoms.calc = SinglePointCalculator(
                atoms, energy=float(record["energy"]), forces=record["forces"].copy()
            )
            yield atoms
