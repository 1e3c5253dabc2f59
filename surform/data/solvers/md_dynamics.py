"""Langevin dynamics of atoms, cut into frames of which each follows from the one before alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surform.data.faults import first_line
from surform.data.solvers.md_teachers import Teacher

__all__ = ["Dynamics", "Frame"]

_BOLTZMANN = 8.617333262e-5  # [eV/K]
_ACCELERATION = 9.648533212e-3  # [Å/fs^2] of 1 eV/Å on 1 u
_RELAXED = 0.02  # [eV/Å]
_RELAXATION_STEPS = 2000
_BLOWN_UP = 20.0  # times the temperature of the thermostat


@dataclass(frozen=True)
class Frame:
    """One moment: positions (n, 3) [Å], velocities (n, 3) [Å/fs], energy [eV], forces (n, 3)
    [eV/Å], stress (6,) [eV/Å^3] in Voigt's order, NaN without a cell.
    """

    positions: np.ndarray
    velocities: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray


class Dynamics:
    """A system and the rules of its motion.

    Frame k is a function of frame k - 1 and of random numbers of (seed, k): labels come from a
    calculator that remembers nothing, so that a run that is taken up later goes on to the same
    bits.

    Args:
        atoms: ASE's. teacher: gives energies and forces.
        temperature: [K]. step: [fs]. friction: [1/fs].
        every: steps between frames. equilibration: [ps] before the first frame.
    """

    def __init__(
        self,
        atoms: Any,
        teacher: Teacher,
        temperature: float,
        step: float,
        friction: float,
        every: int,
        equilibration: float,
    ) -> None:
        known = teacher.elements
        strange = sorted({s for s in atoms.symbols if known is not None and s not in known})
        if strange:
            raise ValueError(f"{teacher.name} knows {', '.join(known or ())}, but not {strange[0]}")
        self.atoms, self.teacher = atoms, teacher
        self.atoms.set_constraint()
        self.temperature, self.step, self.every = temperature, step, every
        self.unseen = round(1000 * equilibration / (step * every))  # frames before the first
        self.masses = atoms.get_masses()[:, None]
        self._kept = float(np.exp(-friction * step))  # share of a velocity that a step keeps

    def relaxed(self) -> np.ndarray:
        """Positions (n, 3) at rest [Å]; ValueError where none are found."""
        from ase.optimize import BFGS

        atoms = self.atoms.copy()
        atoms.calc = self.teacher.make()
        try:
            found = BFGS(atoms, logfile=None).run(fmax=_RELAXED, steps=_RELAXATION_STEPS)
        except Exception as error:  # calculators have errors of their own
            raise ValueError(f"relaxation failed: {first_line(error)}") from error
        if not found:
            raise ValueError(f"relaxation did not end within {_RELAXATION_STEPS} steps")
        return atoms.positions

    def first(self, positions: np.ndarray, generator: np.random.Generator) -> Frame:
        """A frame with velocities of the temperature."""
        spread = np.sqrt(_BOLTZMANN * self.temperature * _ACCELERATION / self.masses)
        return self.labelled(positions, spread * generator.standard_normal(positions.shape))

    def following(self, frame: Frame, generator: np.random.Generator) -> Frame:
        """The frame `every` steps later; ValueError where the motion blew up."""
        atoms = self.atoms.copy()
        atoms.calc = self.teacher.make()
        dt, kept = self.step, self._kept
        places, speeds, forces = frame.positions.copy(), frame.velocities.copy(), frame.forces
        kick = np.sqrt((1 - kept**2) * _BOLTZMANN * self.temperature * _ACCELERATION / self.masses)
        for _ in range(self.every):
            speeds += 0.5 * dt * _ACCELERATION * forces / self.masses
            places += 0.5 * dt * speeds
            speeds = kept * speeds + kick * generator.standard_normal(speeds.shape)
            places += 0.5 * dt * speeds
            atoms.positions = places
            forces = _forces(atoms)
            speeds += 0.5 * dt * _ACCELERATION * forces / self.masses
        found = self.labelled(places, speeds)
        reached = self.temperature_of(speeds)
        if not reached < _BLOWN_UP * self.temperature:
            raise ValueError(
                f"the motion blew up to {reached:.3g} K: take a smaller step than {dt} fs"
            )
        return found

    def labelled(self, positions: np.ndarray, velocities: np.ndarray) -> Frame:
        """A frame with the energy and forces of its positions."""
        atoms = self.atoms.copy()
        atoms.positions = positions
        atoms.calc = self.teacher.make()
        forces = _forces(atoms)
        stress = atoms.get_stress() if atoms.pbc.all() else np.full(6, np.nan)
        return Frame(positions, velocities, atoms.get_potential_energy(), forces, stress)

    def temperature_of(self, velocities: np.ndarray) -> float:
        """[K], of all 3 n directions."""
        doubled = float((self.masses * velocities**2).sum()) / _ACCELERATION
        return doubled / (velocities.size * _BOLTZMANN)

    def centered(self, positions: np.ndarray) -> np.ndarray:
        """Positions of molecules about their centre of mass; those in a cell as they are."""
        if self.atoms.pbc.any():
            return positions
        return positions - (self.masses * positions).sum(0) / self.masses.sum()


def _forces(atoms: Any) -> np.ndarray:
    try:
        return atoms.get_forces()
    except Exception as error:  # calculators have errors of their own
        raise ValueError(f"no energy was found: {first_line(error)}") from error
