"""ASE's view of a potential: energies, forces and stresses that fit together, and messages."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms

from surform.atomistic import Calculator
from tests.atomistic.potentials import crystal, ethanol, potential
from tests.atomistic.test_conservative import slope


def test_energy_and_forces_are_those_of_the_potential():
    model, atoms = potential(), ethanol()
    atoms.calc = Calculator(model)
    found = model.evaluate(torch.tensor(atoms.positions), torch.tensor(atoms.numbers))
    assert abs(atoms.get_potential_energy() - float(found.energy.detach())) < 1e-12
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), found.forces.detach(), atol=1e-13)


def test_stress_is_the_derivative_with_respect_to_strain_in_the_order_of_ase():
    atoms = crystal()
    atoms.calc = Calculator(potential())
    stress = atoms.get_stress()
    assert float(np.abs(stress).max()) > 1e-4
    start = atoms.cell.array.copy()
    for place, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5
        strain[j, i] += 0.5

        def strained(t, strain=strain):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.set_cell(start @ (np.eye(3) + t * strain), scale_atoms=True)
            return moved.get_potential_energy()

        assert abs(slope(strained) / atoms.get_volume() - stress[place]) < 1e-9
    assert atoms.get_stress(voigt=False).shape == (3, 3)


def test_direct_forces_and_molecules_have_no_stress():
    atoms = crystal()
    atoms.calc = Calculator(potential(forces="direct"))
    assert atoms.get_forces().shape == (3, 3)
    with pytest.raises(PropertyNotImplementedError, match="conservative"):
        atoms.get_stress()
    molecule = ethanol()
    molecule.calc = Calculator(potential())
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()
    molecule.calc = Calculator(potential(forces="none"))
    molecule.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="forces"):
        molecule.get_forces()


def test_the_same_atoms_are_computed_once_and_give_the_same_bits(monkeypatch):
    calculator, atoms = Calculator(potential()), crystal()
    calls = []
    ask = type(calculator.evaluator).__call__
    monkeypatch.setattr(
        type(calculator.evaluator), "__call__", lambda *args: calls.append(1) or ask(*args)
    )
    atoms.calc = calculator
    first = atoms.get_forces()
    atoms.get_potential_energy()
    atoms.get_stress()
    atoms.set_initial_charges([1.0, 0, 0])
    atoms.set_initial_magnetic_moments([0, 2.0, 0])
    atoms.get_forces()
    assert len(calls) == 1
    start = atoms.positions.copy()
    atoms.positions[0, 0] += 0.1
    assert not np.array_equal(atoms.get_forces(), first)
    atoms.positions[:] = start
    assert np.array_equal(atoms.get_forces(), first)
    assert len(calls) == 3
    again = crystal()
    again.calc = Calculator(potential())
    assert np.array_equal(again.get_forces(), first)


def test_constraints_are_the_business_of_ase():
    atoms = ethanol()
    atoms.calc = Calculator(potential())
    atoms.set_constraint(FixAtoms([0, 3]))
    assert not atoms.get_forces()[[0, 3]].any()
    assert np.abs(atoms.get_forces(apply_constraint=False)[[0, 3]]).min() > 0


def test_device_and_dtype_are_those_asked_for_and_the_model_stays_as_it_is(tmp_path):
    model = potential().float()
    model.save_pretrained(tmp_path / "model")
    assert Calculator(model, device="cpu").evaluator.model is model
    fine = Calculator(model, device="cpu", dtype="float64")
    assert model.energy.mean.dtype == torch.float32
    assert fine.evaluator.model.energy.mean.dtype == torch.float64
    energies = []
    for source, dtype in (
        (model, None),
        (tmp_path / "model", None),
        (tmp_path, None),
        (model, torch.float64),
    ):
        atoms = ethanol()
        atoms.calc = Calculator(source, dtype=dtype)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1] == energies[2]
    assert 0 < abs(energies[0] - energies[3]) < 1e-4


def test_far_from_the_origin_float32_has_its_digits():
    model = potential().float()
    near, far = ethanol(), ethanol()
    far.positions += [300.0, -200.0, 50.0]
    for atoms in (near, far):
        atoms.calc = Calculator(model)
    np.testing.assert_allclose(far.get_forces(), near.get_forces(), atol=2e-6)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False), (True, True, True)])
def test_any_mixture_of_periodic_axes(pbc):
    """A slab and a chain are what large vacuum along the other axes makes of them."""
    model = potential()
    atoms = crystal()
    atoms.pbc = pbc
    wide = crystal()
    for axis, periodic in enumerate(pbc):
        if not periodic:
            wide.cell[axis] *= 10
    for each in (atoms, wide):
        each.calc = Calculator(model)
    assert abs(atoms.get_potential_energy() - wide.get_potential_energy()) < 1e-11
    np.testing.assert_allclose(atoms.get_forces(), wide.get_forces(), atol=1e-12)


def test_lone_atoms_and_cells_of_one_atom():
    calculator = Calculator(potential())
    lone = Atoms("Mg", calculator=calculator)
    assert not lone.get_forces().any()
    packed = Atoms("Mg", cell=[3.0, 3.0, 3.0], pbc=True, calculator=calculator)
    assert abs(packed.get_potential_energy() - lone.get_potential_energy()) > 1e-5
    np.testing.assert_allclose(packed.get_forces(), 0, atol=1e-12)
    stress = packed.get_stress()
    np.testing.assert_allclose(stress[:3], stress[0], atol=1e-6)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Au"), "atomic number 79.* below 20"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), "position of atom 1 is not finite"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "nearer than"),
        (Atoms("H", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True), "span no volume"),
        (Atoms("H", pbc=True), "span no volume"),
        (Atoms(), "structure 0 has no atoms"),
    ],
)
def test_what_is_wrong_with_atoms_is_said_in_one_sentence(atoms, message):
    atoms.calc = Calculator(potential())
    with pytest.raises(ValueError, match=message) as error:
        atoms.get_potential_energy()
    assert "\n" not in str(error.value)


@pytest.mark.fault
def test_only_potentials_of_known_precision_are_taken(tmp_path):
    with pytest.raises(TypeError, match="not Linear"):
        Calculator(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="float32, float64"):
        Calculator(potential(), dtype="half")
    with pytest.raises(FileNotFoundError, match="no model"):
        Calculator(tmp_path / "nothing")


@pytest.mark.fault
def test_numbers_that_are_not_finite_do_not_leave_the_potential():
    model = potential()
    with torch.no_grad():
        model.net.atoms.weight[6] = torch.nan
    atoms = ethanol()
    atoms.calc = Calculator(model)
    with pytest.raises(ValueError, match="energy for structure 0 is not finite"):
        atoms.get_potential_energy()


@pytest.mark.fault
def test_elements_that_were_not_trained_on_are_refused():
    model = potential()
    model.description = SimpleNamespace(elements=("H", "C"))
    atoms = ethanol()
    atoms.calc = Calculator(model)
    with pytest.raises(ValueError, match="holds O, but this potential was trained on H, C only"):
        atoms.get_potential_energy()
