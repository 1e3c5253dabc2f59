"""What a relaxation moves: free atoms, and with them the cell as ASE's FrechetCellFilter does."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.system import System

__all__ = ["RelaxedCoordinates"]


class RelaxedCoordinates:
    """Rows of three numbers for each structure: one per atom, and three for its cell.

    With deformation F = exp(L), cell = first cell @ F^T and positions = places @ F^T, where the
    three rows of the cell are L times the number of atoms. Energies are as smooth in L as in F, and
    forces on L are the exact derivatives (ASE's FrechetCellFilter takes the same coordinates).

    Args:
        system: the structures.
        free: (N,) bool, atoms that may move.
        with_cell: whether cells may change.
    """

    def __init__(self, system: System, free: Tensor, with_cell: bool) -> None:
        self.system, self.with_cell = system, with_cell
        self.first_cell = system.cell
        self.places, self.batch, self.free = system.positions, system.batch, free
        self.atom = torch.ones_like(free)
        if not with_cell:
            return
        # three rows behind the atoms of each structure
        count = len(system)
        batch = torch.cat((system.batch, torch.arange(count).repeat_interleave(3)))
        order = batch.argsort(stable=True)
        extra = torch.zeros(3 * count, 3, dtype=torch.float64)
        self.batch = batch[order]
        self.places = torch.cat((system.positions, extra))[order]
        self.free = torch.cat((free, torch.ones(3 * count, dtype=torch.bool)))[order]
        self.atom = (torch.arange(len(batch)) < len(system.batch))[order]

    def forces(self, answer: Energies) -> Tensor:
        """Minus the derivative of the energy with respect to each row; 0 where it may not move."""
        assert answer.forces is not None
        if not self.with_cell:
            return torch.where(self.free[:, None], answer.forces, 0.0)
        stress = self.system.stress_of(answer)
        assert stress is not None
        virial = stress * self.system.volume[:, None, None]
        log, deformation = self._deformation()
        forces = torch.empty_like(self.places)
        forces[self.atom] = (answer.forces[:, None] @ deformation[self.system.batch])[:, 0]
        with torch.enable_grad():
            log = log.requires_grad_()
            pull = -virial @ torch.linalg.inv(deformation.mT)
            (pull,) = torch.autograd.grad(torch.matrix_exp(log), log, pull)
        forces[~self.atom] = (pull / self._atoms()).flatten(0, 1)
        return torch.where(self.free[:, None], forces, 0.0)

    def move(self, displacement: Tensor) -> None:
        """Move every row."""
        self.places = self.places + displacement
        if not self.with_cell:
            self.system = self.system.at(self.places, self.system.cell)
            return
        _, deformation = self._deformation()
        turned = deformation.mT
        positions = (self.places[self.atom][:, None] @ turned[self.system.batch])[:, 0]
        self.system = self.system.at(positions, self.first_cell @ turned)

    def keep(self, structures: Tensor) -> Tensor:
        """All other structures leave; returns which rows stayed."""
        rows = structures[self.batch]
        self.system = self.system.chosen(structures)
        self.first_cell = self.first_cell[structures]
        self.batch = (structures.cumsum(0) - 1)[self.batch[rows]]
        self.places, self.free, self.atom = self.places[rows], self.free[rows], self.atom[rows]
        return rows

    def enter(self, other: RelaxedCoordinates) -> None:
        """Others come behind these."""
        self.batch = torch.cat((self.batch, other.batch + len(self.system)))
        self.system = self.system.joined(other.system)
        for name in ("first_cell", "places", "free", "atom"):
            setattr(self, name, torch.cat((getattr(self, name), getattr(other, name))))

    def _atoms(self) -> Tensor:
        return self.system.counts.double()[:, None, None]

    def _deformation(self) -> tuple[Tensor, Tensor]:
        log = self.places[~self.atom].view(-1, 3, 3) / self._atoms()
        return log, torch.matrix_exp(log)
