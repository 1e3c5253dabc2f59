"""Molecular dynamics that can be stopped anywhere, and what is measured of it."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms

from surform.atomistic import Calculator
from surform.atomistic.course import Course
from surform.atomistic.frames_file import FramesFile
from surform.atomistic.simulation import Simulation, settings_of, simulate
from surform.atomistic.temperature_statistics import temperature_statistics
from tests.atomistic.potentials import copper, morse

HOW = Simulation(steps=30, temperature=300, timestep=1.0, interval=5)


def start():
    atoms = copper(1)
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def metal():
    return Calculator(morse(length=2.6, width=1.2, depth=0.4))


def run(path, how=HOW, atoms=None, each=None):
    atoms, calculator = start() if atoms is None else atoms, metal()
    frames = FramesFile(path, len(atoms), settings_of(atoms, calculator, how))
    simulate(atoms, calculator, how, frames, each)
    return Course(atoms, np.array(frames.read()), how.timestep)


@pytest.mark.parametrize("ensemble", ["langevin", "nve"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, ensemble):
    how = Simulation(steps=30, temperature=300, timestep=1.0, interval=5, ensemble=ensemble)
    whole = run(tmp_path / "whole", how)
    assert whole.frames["step"].tolist() == [0, 5, 10, 15, 20, 25, 30]
    calls = []

    def killed(atoms, step):
        calls.append(step)
        if step == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", how, each=killed)
    # killed in the middle of a frame
    os.truncate(tmp_path / "parts", (tmp_path / "parts").stat().st_size - 100)
    parts = run(tmp_path / "parts", how, each=lambda atoms, step: calls.append(step))
    assert calls == [0, 5, 10, 15, 15, 20, 25, 30]
    assert parts.frames.tobytes() == whole.frames.tobytes()
    assert np.array_equal(whole.frames["positions"][:, 0], whole.frames["positions"][[0] * 7, 0])
    assert np.abs(whole.frames["positions"][-1] - whole.frames["positions"][0]).max() > 0.05


def test_a_finished_run_can_be_made_longer(tmp_path):
    short = Simulation(steps=10, temperature=300, timestep=1.0, interval=5)
    run(tmp_path / "frames", short)
    longer = run(tmp_path / "frames")
    assert longer.frames.tobytes() == run(tmp_path / "whole").frames.tobytes()


def test_the_thermostat_holds_the_temperature_of_few_atoms(tmp_path):
    """One loose bond and its centre of mass: six degrees of freedom at 500 K."""
    atoms = Atoms("Ar2", [[0, 0, 0], [1.5, 0, 0]])
    calculator = Calculator(morse(depth=2.0))
    how = Simulation(steps=500, temperature=500, timestep=4.0, friction=0.05, interval=1)
    frames = FramesFile(tmp_path / "frames", 2, {})
    simulate(atoms, calculator, how, frames)
    course = Course(atoms, np.array(frames.read()), how.timestep)
    assert course.degrees_of_freedom == 6
    found = temperature_statistics(course.temperature, 6)
    assert found.frames == 401
    assert abs(found.mean - 500) < 4 * found.error < 150
    assert abs(found.deviation / found.expected - 1) < 0.3


def test_velocities_of_the_structure_are_kept(tmp_path):
    atoms = start()
    atoms.set_momenta(np.full((4, 3), 2.0))
    how = Simulation(steps=1, interval=1, ensemble="nve")
    course = run(tmp_path / "frames", how, atoms)
    assert np.array_equal(course.frames["momenta"][0][1:], np.full((3, 3), 2.0))
    assert course.temperature[0] == pytest.approx(atoms.get_temperature(), rel=0.2)
    masses = atoms.get_masses()
    expected = 0.5 * (12 / masses[1:]).sum()
    assert course.kinetic[0] == pytest.approx(expected)
    assert course.temperature[0] == pytest.approx(2 * expected / (9 * units.kB))


@pytest.mark.fault
def test_a_run_goes_on_only_as_it_began(tmp_path):
    run(tmp_path / "frames")
    for how, message in (
        (Simulation(steps=30, temperature=400, timestep=1.0, interval=5), r"temperature 300.*400"),
        (
            Simulation(steps=30, temperature=300, timestep=1.0, interval=5, seed=1),
            r"seed 0 \(now 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "frames", how)
    moved = start()
    moved.positions[1] += 0.01
    with pytest.raises(ValueError, match="structure"):
        run(tmp_path / "frames", atoms=moved)
    (tmp_path / "other").write_text("something else that is long enough to look at")
    with pytest.raises(ValueError, match="no file of frames"):
        run(tmp_path / "other")


@pytest.mark.fault
def test_a_run_that_breaks_says_at_which_step(tmp_path):
    atoms, calculator = start(), metal()
    frames = FramesFile(tmp_path / "frames", 4, {})
    how = Simulation(steps=100, temperature=300, ensemble="nve")

    def spoil(atoms, step):
        calculator.evaluator.model.net.depth = 1.0 if step < 20 else np.nan

    with pytest.raises(ValueError, match=r"the run broke at step 21: .*energy .* is not finite"):
        simulate(atoms, calculator, how, frames, spoil)
    assert frames.read()["step"].tolist() == [0, 10, 20]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"steps": 15, "temperature": 1.0}, "multiple of interval"),
        ({"steps": 10}, "needs a temperature"),
        ({"steps": 10, "temperature": -1.0}, "temperature is -1.0, but must not be negative"),
        ({"steps": 10, "temperature": 1.0, "timestep": 0.0}, "timestep is 0.0, but must be"),
        ({"steps": 10, "ensemble": "npt"}, "langevin or nve"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Simulation(**options)
