"""Many relaxations at once are the relaxations of each, and those of ASE."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS

from surform.atomistic import Calculator, relax
from surform.atomistic.batch_room import BatchRoom
from tests.atomistic.potentials import crystal, ethanol, morse, potential


def pairs(count=6):
    """Molecules of two and three atoms that come to rest after different numbers of steps."""
    made = []
    for number in range(count):
        atoms = Atoms("OH" if number % 2 else "OHH")
        atoms.positions[1] = [1.0 + 0.05 * number, 0.1, 0]
        atoms.positions[2:] = [-0.3, 1.1, 0.2]
        made.append(atoms)
    return made


@pytest.mark.parametrize(("name", "theirs"), [("fire", FIRE), ("lbfgs", LBFGS)])
def test_steps_are_those_of_ase(name, theirs):
    """A few: rounding grows tenfold in each on the rough energies of a random network."""
    model = potential()
    held = ethanol()
    held.set_constraint(FixAtoms([1, 4]))
    structures = [held, crystal()]
    found = relax(model, structures, name, fmax=1e-6, steps=7, trajectory=True)
    calculator = Calculator(model)
    for start, ours in zip(structures, found, strict=True):
        atoms = start.copy()
        atoms.calc = calculator
        other = theirs(atoms, logfile=None)
        for step, _ in enumerate(other.irun(fmax=1e-6, steps=7)):
            frame = ours.trajectory[step]
            np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-9)
        assert step == ours.steps == 7
        assert not ours.converged
        assert abs(ours.atoms.get_potential_energy() - atoms.get_potential_energy()) < 1e-9
    assert np.array_equal(found[0].atoms.positions[[1, 4]], held.positions[[1, 4]])
    assert np.abs(found[0].atoms.positions - held.positions).max() > 0.01


@pytest.mark.parametrize("name", ["fire", "lbfgs"])
def test_structures_leave_when_they_are_done_and_others_come(name):
    model, structures = morse(), pairs()
    alone = [relax(model, [each], name, fmax=0.01, steps=100)[0] for each in structures]
    together = relax(model, structures, name, fmax=0.01, steps=100, batch_size=3)
    assert len({each.steps for each in alone}) > 2
    assert all(each.converged for each in alone)
    for one, other in zip(alone, together, strict=True):
        assert one.steps == other.steps
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, atol=1e-8)
        assert other.fmax == pytest.approx(np.linalg.norm(other.atoms.get_forces(), axis=1).max())
        assert other.fmax < 0.01


def test_cells_relax_as_in_the_frechet_filter_of_ase():
    model = potential()
    start = crystal()
    held = crystal()
    held.set_constraint(FixAtoms([0]))
    found = relax(model, [start, held], fmax=1e-6, steps=10, cell=True, trajectory=True)
    atoms = start.copy()
    atoms.calc = Calculator(model)
    for step, _ in enumerate(FIRE(FrechetCellFilter(atoms), logfile=None).irun(1e-6, 10)):
        frame = found[0].trajectory[step]
        np.testing.assert_allclose(frame.cell.array, atoms.cell.array, atol=1e-9)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-9)
    np.testing.assert_allclose(found[0].atoms.get_stress(), atoms.get_stress(), atol=1e-8)
    assert np.abs(atoms.cell.array - start.cell.array).max() > 1e-3
    # what is held keeps its place in the cell
    np.testing.assert_allclose(
        found[1].atoms.get_scaled_positions()[0], held.get_scaled_positions()[0], atol=1e-12
    )


def test_as_many_at_once_as_memory_allows(monkeypatch):
    """Room is measured, and grows with what is free."""
    model, structures = morse(), pairs(8)
    seen = []
    call = BatchRoom.call

    def watched(self, size, function):
        answer = call(self, size, function)
        seen.append((size, self.most))
        return answer

    monkeypatch.setattr(BatchRoom, "call", watched)
    monkeypatch.setattr("surform.atomistic.batch_room.free_memory", lambda device: 10**9)
    relax(model, structures, steps=2)
    assert seen[0][0] == 9  # three atoms, six edges
    assert [size for size, _ in seen[1:]] == [4 * 9 + 4 * 4] * 2 + [3 * 9 + 4 * 4]
    small = seen[0][1]
    seen.clear()
    monkeypatch.setattr("surform.atomistic.batch_room.free_memory", lambda device: 10**3)
    relax(model, structures, steps=2)
    assert seen[0][1] == pytest.approx(small / 10**6)
    assert {size for size, _ in seen} == {9, 4}  # one at a time


def test_nothing_moves_where_forces_are_small_or_no_step_is_allowed():
    model, atoms = potential(), ethanol()
    for fmax, steps, converged in ((100.0, 5, True), (1e-3, 0, False)):
        (found,) = relax(model, [atoms], fmax=fmax, steps=steps)
        assert found.converged is converged
        assert found.steps == 0
        assert np.array_equal(found.atoms.positions, atoms.positions)
    assert relax(model, []) == []


def test_progress_rises_to_the_end():
    shares: list[float] = []
    relax(morse(), pairs(3), fmax=0.01, steps=100, batch_size=2, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 5


@pytest.mark.fault
def test_what_cannot_be_relaxed_is_said_before_anything_is():
    model = potential()
    other = ethanol()
    other.set_constraint(FixBondLength(0, 1))
    for structures, options, message in (
        ([ethanol(), other], {}, "structure 1: .*FixAtoms, not FixBondLength"),
        ([ethanol(), Atoms("Au")], {}, "structure 1: it holds atomic number 79"),
        ([Atoms("H2")], {}, "structure 0: atoms 0 and 1"),
        ([crystal(), ethanol()], {"cell": True}, "structure 1: .*periodic along all axes"),
        ([ethanol()], {"optimizer": "bfgs"}, "fire or lbfgs"),
        ([ethanol()], {"fmax": 0.0}, "positive force"),
        ([ethanol()], {"batch_size": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            relax(model, structures, **options)
    with pytest.raises(ValueError, match="needs stress"):
        relax(potential(forces="direct"), [crystal()], cell=True)
    with pytest.raises(ValueError, match="needs forces"):
        relax(potential(forces="none"), [crystal()])


@pytest.mark.fault
def test_a_structure_that_breaks_does_not_stop_the_others(monkeypatch):
    model, structures = morse(), pairs(3)
    from surform.atomistic.evaluator import Evaluator

    ask, calls = Evaluator.__call__, []

    def breaking(self, system, neighbors=None):
        calls.append(1)
        answer = ask(self, system, neighbors)
        if len(calls) > 3 and 2 in system.counts.tolist():
            raise ValueError("the potential's energy for structure 0 is not finite")
        return answer

    monkeypatch.setattr(Evaluator, "__call__", breaking)
    found = relax(model, structures, fmax=0.01, steps=100, batch_size=3)
    assert [bool(each.problem) for each in found] == [False, True, False]
    assert found[1].problem == "the potential's energy for it is not finite"
    assert found[0].converged
    assert found[2].converged
    assert found[1].steps == 3
