"""Relaxations of many structures at once, each of which ends when its own forces are small."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surform.atomistic.batch_room import BatchRoom
from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.evaluator import Evaluator
from surform.atomistic.optimizers import OPTIMIZERS, longest
from surform.atomistic.potential import Potential
from surform.atomistic.relaxed_coordinates import RelaxedCoordinates
from surform.atomistic.system import System, free_atoms

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Relaxed", "relax"]


@dataclass(frozen=True, eq=False)
class Relaxed:
    """How a relaxation ended.

    atoms: a copy of the structure where it came to rest, with its energy, forces and stress.
    converged: whether no free atom feels more than fmax. steps: taken. fmax: the largest force
    left [eV/Å]. trajectory: all structures on the way, where they were asked for. problem: why the
    potential had no answer at the end; "" as a rule.
    """

    atoms: Atoms
    converged: bool
    steps: int
    fmax: float
    trajectory: list[Atoms] = field(default_factory=list, repr=False)
    problem: str = ""


def relax(
    model: Potential | str | os.PathLike[str],
    structures: Sequence[Atoms],
    optimizer: str = "fire",
    fmax: float = 0.05,
    steps: int = 500,
    *,
    cell: bool = False,
    batch_size: int | None = None,
    trajectory: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Relaxed]:
    """Move atoms downhill until no free one feels more than `fmax`, many structures at once.

    Each structure takes the steps that it would take alone, to rounding, and those of ASE's
    optimiser of that name; it leaves the batch when it is done, and the next one takes its place.

    Args:
        model: a `Potential`, a folder of a saved model or a run, or a name.
        structures: of ASE; atoms that FixAtoms holds stay. They are not changed.
        optimizer: "fire" or "lbfgs".
        fmax: [eV/Å]; with `cell` for the forces on the cell, too, as with ASE's FrechetCellFilter.
        steps: at most.
        cell: relax cells, too (all six strains); the network must give stress.
        batch_size: structures at once; None: as many as half of the free memory holds.
        trajectory: keep the structures of all steps.
        device, dtype: of the network; the optimiser works in float64 on the CPU.
        progress: called after each step with the part of the work that is done, in [0, 1].

    Raises:
        ValueError: structures that the model cannot take, and which; constraints beside FixAtoms;
            a network without forces, or without stress for cells.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {optimizer!r}, but must be {' or '.join(OPTIMIZERS)}")
    if not fmax > 0:
        raise ValueError(f"fmax is {fmax}, but must be a positive force in eV/Å")
    if steps < 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("steps must be at least 0, and batch_size at least 1")
    evaluator = Evaluator(model, device, dtype)
    if evaluator.forces == "none":
        raise ValueError("relaxing needs forces: this network has none")
    if cell and not evaluator.has_stress:
        raise ValueError(
            "relaxing cells needs stress: this network has none (forces: conservative, or a head "
            "for it, would give it)"
        )
    run = _Run(evaluator, structures, optimizer, fmax, steps, cell, batch_size, trajectory)
    return run.finish(progress)


class _Run:
    def __init__(
        self,
        evaluator: Evaluator,
        structures: Sequence[Atoms],
        optimizer: str,
        fmax: float,
        steps: int,
        cell: bool,
        batch_size: int | None,
        trajectory: bool,
    ) -> None:
        self.evaluator, self.structures, self.cell = evaluator, structures, cell
        self.fmax, self.steps = fmax, steps
        self.batch_size, self.keep_all = batch_size, trajectory
        self.optimizer, self.room = OPTIMIZERS[optimizer](), BatchRoom(evaluator)
        self.done: list[Relaxed | None] = [None] * len(structures)
        self.paths: list[list[Atoms]] = [[] for _ in structures]
        # atoms and edges of each; what is wrong with any shows before the work begins
        self.sizes = [self._size(number) for number in range(len(structures))]
        self.waiting = list(range(len(structures)))[::-1]
        self.numbers: list[int] = []  # of the structures at work
        self.taken = torch.zeros(0, dtype=torch.int64)  # steps of each
        self.work: RelaxedCoordinates | None = None

    def finish(self, progress: Callable[[float], None] | None) -> list[Relaxed]:
        while self.waiting or self.numbers:
            self._admit()
            self._advance()
            if progress is not None:
                under_way = int(self.taken.sum()) / max(self.steps, 1) - len(self.numbers)
                progress(1 + (under_way - len(self.waiting)) / len(self.done))
        return [each for each in self.done if each is not None]

    def _size(self, number: int) -> int:
        atoms = self.structures[number]
        try:
            system = System.of([atoms])
            free_atoms(atoms)
            self.evaluator.check_elements(system.numbers)
            if self.cell and not (atoms.pbc.all() and float(system.volume) > 0):
                raise ValueError("relaxing cells needs a cell that is periodic along all axes")
            return len(atoms) + self.evaluator.neighbors(system).edge_index.shape[1]
        except ValueError as error:
            text = str(error).replace("structure 0", "it").replace("the structure", "it")
            raise ValueError(f"structure {number}: {text}") from error

    def _admit(self) -> None:
        """Let structures in while there is room, and one at least."""
        size, group = sum(self.sizes[number] for number in self.numbers), []
        while self.waiting and self._fits(
            size + self.sizes[self.waiting[-1]], len(self.numbers) + len(group)
        ):
            group.append(self.waiting.pop())
            size += self.sizes[group[-1]]
        if not group:
            return
        atoms = [self.structures[number] for number in group]
        free = torch.from_numpy(np.concatenate([free_atoms(each) for each in atoms]))
        new = RelaxedCoordinates(System.of(atoms), free, self.cell)
        self.optimizer.enter(len(new.places), len(group))
        if self.work is None:
            self.work = new
        else:
            self.work.enter(new)
        self.numbers += group
        self.taken = torch.cat((self.taken, self.taken.new_zeros(len(group))))

    def _fits(self, size: int, others: int) -> bool:
        if others == 0:
            return True
        return size <= self.room.most if self.batch_size is None else others < self.batch_size

    def _advance(self) -> None:
        """One step of all at work."""
        assert self.work is not None
        try:
            answer = self._answer(self.work.system)
        except ValueError:
            if not self._drop_faulty():
                raise
            return
        forces = self.work.forces(answer)
        left = longest(forces, self.work.batch, len(self.numbers))[:, 0]
        ends = (left < self.fmax) | (self.taken >= self.steps)
        if self.keep_all or bool(ends.any()):
            self._record(answer, left, ends)
        rows = self._keep(~ends)
        if self.numbers:
            move = self.optimizer.step(self.work.places, forces[rows], self.work.batch)
            self.work.move(move)
            self.taken = self.taken + 1

    def _answer(self, system: System) -> Energies:
        size = sum(self.sizes[number] for number in self.numbers)
        return self.room.call(size, lambda: self.evaluator(system))

    def _record(self, answer: Energies, left: Tensor, ends: Tensor) -> None:
        """Keep what is asked for of the structures as they are now."""
        assert self.work is not None
        for place, number in enumerate(self.numbers):
            ended = bool(ends[place])
            if not (ended or self.keep_all):
                continue
            atoms = self.work.system.atoms(place, self.structures[number], answer)
            self.paths[number] += [atoms] if self.keep_all else []
            if ended:
                force = float(left[place])
                self.done[number] = Relaxed(
                    atoms, force < self.fmax, int(self.taken[place]), force, self.paths[number]
                )

    def _drop_faulty(self) -> bool:
        """End structures that the potential has no answer for where they are; False: none."""
        assert self.work is not None
        fine = torch.ones(len(self.numbers), dtype=torch.bool)
        for place, number in enumerate(self.numbers):
            alone = self.work.system.chosen(torch.arange(len(fine)) == place)
            try:
                self.evaluator(alone)
            except ValueError as error:
                fine[place] = False
                problem = str(error).replace("structure 0", "it")
                atoms = alone.atoms(0, self.structures[number])
                taken = int(self.taken[place])
                path = self.paths[number]
                self.done[number] = Relaxed(atoms, False, taken, float("nan"), path, problem)
        self._keep(fine)
        return not bool(fine.all())

    def _keep(self, structures: Tensor) -> Tensor:
        assert self.work is not None
        rows = self.work.keep(structures)
        self.optimizer.keep(rows, structures)
        self.taken = self.taken[structures]
        self.numbers = [n for n, kept in zip(self.numbers, structures, strict=True) if kept]
        return rows
