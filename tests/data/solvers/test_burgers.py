from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from surform.data.solvers.advection1d import difference, values
from surform.data.solvers.burgers import burgers, integrate
from surform.data.solvers.etdrk4 import ETDRK4
from surform.data.solvers.samples import Samples


def cole_hopf(x: torch.Tensor, time: float, viscosity: float) -> torch.Tensor:
    """u = -2 nu phi_x/phi with the heat solution phi = 1.2 + cos(2 pi x) exp(-4 pi^2 nu t)."""
    decay = math.exp(-4 * math.pi**2 * viscosity * time)
    phi = 1.2 + decay * torch.cos(2 * math.pi * x)
    return 4 * math.pi * viscosity * decay * torch.sin(2 * math.pi * x) / phi


def cole_hopf_error(points: int, steps: int, viscosity: float = 0.05, time: float = 0.4) -> float:
    x = torch.arange(points, dtype=torch.float64) / points
    start = torch.fft.rfft(cole_hopf(x, 0.0, viscosity))[None]
    u = torch.fft.irfft(integrate(start, viscosity, time, time / steps), n=points)[0]
    return float((u - cole_hopf(x, time, viscosity)).abs().max())


def test_cole_hopf_solution_is_reproduced():
    assert cole_hopf_error(256, 2000) < 1e-11


def test_fourth_order_in_time():
    errors = [cole_hopf_error(128, steps) for steps in (20, 40, 80)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(3.8 < p < 4.3 for p in orders), (errors, orders)


def test_spectral_accuracy_in_space():
    errors = [cole_hopf_error(points, 1000) for points in (24, 48)]
    assert errors[0] / errors[1] > 1e3
    assert errors[1] < 1e-10


def test_mean_is_conserved_and_energy_falls():
    start = torch.fft.rfft(torch.randn(3, 64, dtype=torch.float64).cumsum(1) / 16)
    end = integrate(start, 0.01, 0.2, 1e-3)
    torch.testing.assert_close(end[:, 0], start[:, 0], rtol=0, atol=1e-12)
    assert bool((end.abs().square().sum(1) < start.abs().square().sum(1)).all())


def test_defaults_are_converged_in_time_and_modes():
    coarse = burgers(Samples(range(4)), points=256)
    fine = burgers(Samples(range(4)), points=256, modes=2048, dt=4e-4)
    for name, limit in (("u", 1e-6), ("du_dx", 1e-6)):
        a, b = coarse.fields[name].values, fine.fields[name].values
        assert float((a - b).norm() / b.norm()) < limit


def test_derivative_is_the_central_difference_on_the_finest_grid():
    options = {"modes": 64, "dt": 0.01}
    fine = burgers(Samples(range(2)), points=512, derivative_points=512, **options)
    u = fine.fields["u"].values
    expected = (u.roll(-1, 1) - u.roll(1, 1)) * 512 / 2
    torch.testing.assert_close(fine.fields["du_dx"].values, expected, rtol=1e-9, atol=1e-12)
    coarse = burgers(Samples(range(2)), points=128, derivative_points=512, **options)
    torch.testing.assert_close(coarse.fields["du_dx"].values, expected[:, ::4])


@pytest.mark.parametrize("points", [16, 24, 48, 64, 100])
def test_values_are_those_of_the_interpolant(points):
    x = torch.arange(points, dtype=torch.float64) / points

    def wave(x):
        return 0.3 + torch.sin(2 * math.pi * x) + 0.5 * torch.cos(2 * math.pi * 7 * x + 0.4)

    spectrum = torch.fft.rfft(wave(torch.arange(24, dtype=torch.float64) / 24))
    torch.testing.assert_close(values(spectrum, points), wave(x))


def test_difference_approaches_the_derivative():
    x = torch.arange(32, dtype=torch.float64) / 32
    spectrum = torch.fft.rfft(torch.sin(2 * math.pi * x))
    found = values(difference(spectrum, 1.0, 8192), 32)
    torch.testing.assert_close(found, 2 * math.pi * torch.cos(2 * math.pi * x), rtol=0, atol=1e-6)


def test_etdrk4_is_exact_without_nonlinear_part():
    linear = torch.tensor([0.0, -1e-9, -1.0, -1e4, 2.0], dtype=torch.float64)
    state = torch.ones(5, dtype=torch.complex128)
    stepper = ETDRK4(linear, torch.zeros_like, 0.1)
    torch.testing.assert_close(stepper.step(state).real, (0.1 * linear).exp())


def test_etdrk4_agrees_with_an_adaptive_integrator():
    integrate_ode = pytest.importorskip("scipy.integrate").solve_ivp
    linear = torch.tensor([-0.5, -30.0], dtype=torch.float64)

    def nonlinear(v):
        return torch.stack([v[1] * v[1] + 0.3, -v[0] * v[1] + 2.0])

    v = torch.tensor([1.0, 0.5], dtype=torch.complex128)
    stepper = ETDRK4(linear, nonlinear, 0.005)
    for _ in range(200):
        v = stepper.step(v)

    def right(t, y):
        return linear.numpy() * y + nonlinear(torch.from_numpy(y)).numpy()

    exact = integrate_ode(right, (0, 1), [1.0, 0.5], rtol=1e-11, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(v.real, exact, rtol=1e-7)


def test_agrees_with_exponax():
    exponax = pytest.importorskip("exponax")
    jax = pytest.importorskip("jax")
    x = 2 * math.pi * torch.arange(64, dtype=torch.float64) / 64
    start = torch.stack([torch.sin(x), torch.cos(2 * x) - 0.5 * torch.sin(3 * x + 1)])
    ours = torch.fft.irfft(integrate(torch.fft.rfft(start), 0.1, 0.1, 1e-3), n=64)
    with jax.enable_x64(True):
        step = exponax.stepper.Burgers(
            1, 1.0, 64, 1e-3, diffusivity=0.1, order=4, conservative=True
        )
        theirs = jax.vmap(exponax.repeat(step, 100))(start.numpy()[:, None])[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
