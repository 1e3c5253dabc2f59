"""Spectra and integrals of waves whose energy is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from surform.rollout import EnergySpectrum, Enstrophy, KineticEnergy
from surform.rollout.spectra import radial_spectrum


@pytest.mark.parametrize("shape", [(16,), (15,), (8, 12), (9, 7), (6, 4, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shells_sum_to_half_the_mean_square(shape, dtype):
    field = torch.randn(2, *shape, dtype=dtype)
    _, energy = radial_spectrum(field, [2 * np.pi] * len(shape))
    half = field.square().flatten(1).mean(1) / 2
    torch.testing.assert_close(energy.sum(-1), half, rtol=1e-5, atol=1e-6)


def test_a_wave_stands_in_the_shell_of_its_wavenumber():
    x, y = (torch.arange(n, dtype=torch.float64) * 4 / n for n in (32, 24))
    k = 2 * np.pi / 4
    field = 3 * torch.cos(3 * k * x[:, None] + 4 * k * y)
    wavenumber, energy = radial_spectrum(field, [4, 4])
    assert float(wavenumber[5]) == pytest.approx(5 * k)
    assert float(energy[5]) == pytest.approx(9 / 4)
    assert float(energy.sum() - energy[5]) == pytest.approx(0, abs=1e-12)


@pytest.fixture
def grid(flow, describe):
    return describe(flow(n=32, m=24))


@pytest.fixture
def wave():
    """w = 2 cos(3 x + 4 y): enstrophy 1, kinetic energy 1 / 25."""
    x, y = (torch.arange(n, dtype=torch.float64) * 2 * np.pi / n for n in (32, 24))
    return (2 * torch.cos(3 * x[:, None] + 4 * y))[None, None, ..., None]


def test_kinetic_spectrum_of_a_vorticity_wave(grid, wave):
    observer = EnergySpectrum(vorticity="vorticity")
    observer.start(grid, wave)
    observer.update(wave, wave)
    found = observer.result()
    kinetic = found["vorticity_kinetic_spectrum"]
    assert kinetic.dims == ("sample", "member", "time", "wavenumber")
    assert kinetic.sel(wavenumber=5, method="nearest").item() == pytest.approx(1 / 25)
    assert float(kinetic.sum()) == pytest.approx(1 / 25)
    assert kinetic.attrs["units"] == "(1/s m)^2"
    assert found["wavenumber"].attrs["units"] == "m^-1"
    assert found["vorticity_spectrum"].attrs["units"] == "(1/s)^2"
    assert float(found["vorticity_spectrum_truth"].sum()) == pytest.approx(1)


def test_enstrophy_and_energy_of_a_vorticity_wave(grid, wave):
    for observer, name, value in (
        (Enstrophy(), "enstrophy", 1.0),
        (KineticEnergy(vorticity="vorticity"), "kinetic_energy", 1 / 25),
    ):
        observer.start(grid, wave)
        observer.update(wave * 2)
        assert observer.result()[name].item() == pytest.approx(4 * value)


def test_kinetic_energy_of_velocities(grid, wave):
    flow = replace(grid, targets=("u", "v"), units={"u": "m/s", "v": "m/s"})
    observer = KineticEnergy(["u", "v"])
    both = torch.cat([wave, 3 * wave], dim=-1)
    observer.start(flow, both)
    observer.update(both)
    found = observer.result()["kinetic_energy"]
    assert found.item() == pytest.approx(1 + 9)
    assert found.attrs["units"] == "(m/s)^2"


def test_what_makes_no_sense_is_refused(grid, wave):
    closed = replace(grid, periodic={"x": True, "y": False})
    with pytest.raises(ValueError, match="'y' is not periodic"):
        EnergySpectrum().start(closed, wave)
    with pytest.raises(ValueError, match="no target is called 'w'"):
        Enstrophy("w").start(grid, wave)
    with pytest.raises(ValueError, match="no target is called 'u'"):
        KineticEnergy(["u"]).start(grid, wave)
    with pytest.raises(ValueError, match="either velocity components or a vorticity"):
        KineticEnergy()
    solid = replace(grid, axes=("x", "y", "z"), shape=(4, 4, 4))
    with pytest.raises(ValueError, match="lives on 2 axes, not on 3"):
        Enstrophy().start(solid, wave)
