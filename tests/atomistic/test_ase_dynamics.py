"""ASE's optimisers, integrators and nudged elastic band run on a potential."""

from __future__ import annotations

import numpy as np
from ase import units
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import FIRE

from surform.atomistic import Calculator
from tests.atomistic.potentials import crystal, ethanol, potential


def warm(atoms, temperature=300):
    drawn = np.random.default_rng(0).normal(size=(len(atoms), 3))
    atoms.set_momenta(np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None] * drawn)


def test_fire_relaxes_atoms_and_cells():
    atoms = crystal()
    atoms.calc = Calculator(potential())
    before = atoms.get_potential_energy()
    assert FIRE(atoms, logfile=None).run(fmax=0.02, steps=150)
    assert atoms.get_potential_energy() < before
    atoms = crystal()
    atoms.calc = Calculator(potential())
    before, cell = atoms.get_potential_energy(), atoms.cell.array.copy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(steps=10)
    assert atoms.get_potential_energy() < before
    assert np.abs(atoms.cell.array - cell).max() > 1e-3


def test_energy_is_conserved_without_a_thermostat():
    """Halving the time step divides the error of energy by four, as the integrator promises."""
    errors = []
    for step in (0.05, 0.025):  # small: a random network is rough
        atoms = ethanol()
        atoms.calc = Calculator(potential())
        warm(atoms)
        before = atoms.get_total_energy()
        run = VelocityVerlet(atoms, step * units.fs)
        worst = 0.0
        for _ in range(round(1 / step)):
            run.run(1)
            worst = max(worst, abs(atoms.get_total_energy() - before))
        errors.append(worst)
    assert errors[0] < 1e-3
    assert 3.5 < errors[0] / errors[1] < 5


def test_langevin_repeats_itself():
    ends = []
    for _ in range(2):
        atoms = ethanol()
        atoms.calc = Calculator(potential())
        warm(atoms)
        generator = np.random.default_rng(1)
        friction = 0.01 / units.fs
        run = Langevin(
            atoms, 0.5 * units.fs, temperature_K=300, friction=friction, fixcm=False, rng=generator
        )
        run.run(5)
        ends.append(atoms.positions.copy())
    assert np.array_equal(*ends)
    assert np.abs(ends[0] - ethanol().positions).max() > 1e-3


def test_a_nudged_elastic_band_pulls_images_down():
    """Between a molecule and its mirror image, with one calculator for all images."""
    ends = [ethanol(), ethanol()]
    ends[1].positions[8] += [0.8, 0.3, 0.5]
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    calculator = Calculator(potential())
    for image in images:
        image.calc = calculator
    band = NEB(images, k=0.1, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate()
    before = np.linalg.norm(band.get_forces(), axis=-1).max()
    FIRE(band, logfile=None).run(fmax=0.01, steps=15)
    after = np.linalg.norm(band.get_forces(), axis=-1).max()
    assert after < 0.8 * before
