"""ASE's structures as one set of tensors in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surform.atomistic.equiformer_v2 import Energies

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["System", "free_atoms"]


@dataclass(frozen=True, eq=False)
class System:
    """B structures of N atoms together, on the CPU.

    numbers: atomic numbers. positions: [Å], float64. batch: the structure of each atom. cell: rows
    are lattice vectors [Å]. pbc: which of them a structure is repeated along.
    """

    numbers: Int[Tensor, " n"]
    positions: Float[Tensor, "n 3"]
    batch: Int[Tensor, " n"]
    cell: Float[Tensor, "b 3 3"]
    pbc: Bool[Tensor, "b 3"]

    @classmethod
    def of(cls, structures: Sequence[Atoms]) -> System:
        """The tensors of some structures; ValueError where one has no atom."""
        for number, atoms in enumerate(structures):
            if not len(atoms):
                raise ValueError(f"structure {number} has no atoms")
        counts = torch.tensor([len(atoms) for atoms in structures])
        return cls(
            numbers=torch.from_numpy(np.concatenate([a.numbers for a in structures])).long(),
            positions=torch.from_numpy(np.concatenate([a.positions for a in structures])).double(),
            batch=torch.repeat_interleave(torch.arange(len(structures)), counts),
            cell=torch.from_numpy(np.stack([a.cell.array for a in structures])).double(),
            pbc=torch.from_numpy(np.stack([a.pbc for a in structures])),
        )

    def __len__(self) -> int:
        """The number of structures."""
        return len(self.cell)

    @property
    def counts(self) -> Tensor:
        """Atoms of each structure, (B,)."""
        return torch.bincount(self.batch, minlength=len(self))

    @property
    def volume(self) -> Tensor:
        """Of each cell [Å^3], (B,); 0 where the cell has none."""
        return torch.linalg.det(self.cell).abs()

    def stress_of(self, answer: Energies) -> Tensor | None:
        """Stresses [eV/Å^3], (B, 3, 3), NaN where a cell has no volume; None: not known."""
        volume = self.volume[:, None, None]
        has_one = volume > 0
        if answer.virial is not None:
            return torch.where(has_one, answer.virial / volume, torch.nan)
        return None if answer.stress is None else torch.where(has_one, answer.stress, torch.nan)

    def at(self, positions: Tensor, cell: Tensor) -> System:
        """The same atoms elsewhere, in other cells."""
        return replace(self, positions=positions, cell=cell)

    def chosen(self, structures: Bool[Tensor, " b"]) -> System:
        """Some of the structures."""
        atoms = structures[self.batch]
        return System(
            numbers=self.numbers[atoms],
            positions=self.positions[atoms],
            batch=(structures.cumsum(0) - 1)[self.batch[atoms]],
            cell=self.cell[structures],
            pbc=self.pbc[structures],
        )

    def joined(self, other: System) -> System:
        """These structures, then others."""
        return System(
            numbers=torch.cat((self.numbers, other.numbers)),
            positions=torch.cat((self.positions, other.positions)),
            batch=torch.cat((self.batch, other.batch + len(self))),
            cell=torch.cat((self.cell, other.cell)),
            pbc=torch.cat((self.pbc, other.pbc)),
        )

    def atoms(self, place: int, like: Atoms, answer: Energies | None = None) -> Atoms:
        """One structure as ASE's, with all else as `like` has it, and what is known of it."""
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.stress import full_3x3_to_voigt_6_stress

        own = self.batch == place
        atoms = like.copy()
        atoms.set_constraint()
        atoms.set_cell(self.cell[place].numpy())
        atoms.positions[:] = self.positions[own].numpy()
        atoms.set_constraint([*like.constraints])
        if answer is None:
            return atoms
        known: dict[str, Any] = {"energy": float(answer.energy[place])}
        if answer.forces is not None:
            known["forces"] = answer.forces[own].numpy()
        stress = self.stress_of(answer)
        if stress is not None and bool(stress[place].isfinite().all()):
            known["stress"] = full_3x3_to_voigt_6_stress(stress[place].numpy())
        atoms.calc = SinglePointCalculator(atoms, **known)
        return atoms


def free_atoms(atoms: Atoms) -> np.ndarray:
    """(n,) bool: which atoms ASE's FixAtoms leaves free; ValueError for other constraints."""
    free = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        name = type(constraint).__name__
        if name != "FixAtoms":
            raise ValueError(
                f"relaxing in batches knows atoms held by FixAtoms, not {name}: relax this "
                "structure with ASE's optimizers and surform.atomistic.Calculator"
            )
        free[constraint.get_indices()] = False
    return free
