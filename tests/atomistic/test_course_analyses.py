"""Drift, temperature and distances, on numbers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from surform.atomistic.energy_drift import energy_drift
from surform.atomistic.radial_distribution import radial_distribution
from surform.atomistic.temperature_statistics import temperature_statistics


def test_drift_is_the_slope_per_atom_with_its_error():
    time = np.linspace(1, 11, 201)
    noise = np.random.default_rng(0).normal(size=201)
    found = energy_drift(time, -500 + 0.02 * time + 0.001 * noise, atoms=10)
    assert abs(found.drift - 2.0) < 4 * found.error
    assert found.error == pytest.approx(0.1 / (np.sqrt(201) * time.std()), rel=0.15)
    assert found.fluctuation == pytest.approx(0.1, rel=0.1)
    exact = energy_drift(time, -500 + 0.02 * time, atoms=10)
    assert exact.drift == pytest.approx(2.0)
    np.testing.assert_allclose(exact.line(time), 2.0 * (time - 1), atol=1e-9)
    for t, e in (([0, 1], [0, 1]), ([1, 1, 1], [0, 1, 2])):
        with pytest.raises(ValueError, match="drift needs"):
            energy_drift(t, e, 1)


def test_temperature_leaves_the_start_out_and_knows_that_frames_are_alike():
    generator = np.random.default_rng(0)
    values = np.repeat(300 + 30 * generator.normal(size=400), 10)  # ten frames of each
    values[:800] = 1000.0
    found = temperature_statistics(values, 200, discard=0.2)
    assert found.frames == 3200
    assert found.deviation == pytest.approx(30, rel=0.1)
    assert found.expected == pytest.approx(30, rel=0.05)
    assert found.error == pytest.approx(30 / np.sqrt(320), rel=0.5)
    assert abs(found.mean - 300) < 4 * found.error
    assert np.isnan(temperature_statistics([300.0], 3).error)
    with pytest.raises(ValueError, match="discard"):
        temperature_statistics(values, 3, discard=1.0)


def test_distances_of_a_crystal_count_its_shells():
    atoms = bulk("Cu", cubic=True)
    found = radial_distribution(
        atoms.positions, atoms.numbers, cell=atoms.cell.array, pbc=True, farthest=3.7, bins=74
    )
    assert found.normalized
    (values,) = found.values.values()
    edges = np.linspace(0, 3.7, 75)
    volume = 4 / 3 * np.pi * np.diff(edges**3)
    counts = values * volume * 4 / atoms.get_volume()
    shells = {round(r, 2): round(n) for r, n in zip(found.distance, counts, strict=True) if n > 0.5}
    assert list(shells.values()) == [12, 6]
    assert list(shells) == pytest.approx([3.61 / np.sqrt(2), 3.61], abs=0.03)


def test_distances_of_an_ideal_gas_are_even():
    generator = np.random.default_rng(0)
    frames = generator.random((40, 100, 3)) * 12
    numbers = np.array([18] * 60 + [10] * 40)
    found = radial_distribution(frames, numbers, cell=12 * np.eye(3), pbc=True, bins=12)
    assert list(found.values) == ["Ne-Ne", "Ne-Ar", "Ar-Ar"]
    for values in found.values.values():
        np.testing.assert_allclose(values[4:], 1, atol=0.1)


def test_distances_in_a_molecule_are_numbers_of_neighbours():
    water = [[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]]
    found = radial_distribution(water, [8, 1, 1], farthest=2.0, bins=40)
    assert not found.normalized
    width = 2.0 / 40
    sums = {pair: values.sum() * width for pair, values in found.values.items()}
    assert sums == pytest.approx({"H-H": 1, "H-O": 1, "O-O": 0})
    with pytest.raises(ValueError, match=r"frames, 2, 3"):
        radial_distribution(water, [8, 1])
