from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from surform.data.solvers.kolmogorov import kolmogorov
from surform.data.solvers.navier_stokes import navier_stokes
from surform.data.solvers.random_fields import periodic_square
from surform.data.solvers.samples import Samples
from surform.data.solvers.vorticity import VorticityEquation

TURN = 2 * math.pi


def equation(points=32, dt=0.01, viscosity=0.01, drag=0.0, forcing=None, dtype=torch.float64):
    return VorticityEquation(points, TURN, viscosity, drag, forcing, dt, dtype, "cpu")


def grid(points):
    x = TURN * torch.arange(points, dtype=torch.float64) / points
    return x[:, None], x[None, :]


def random_flow(points, batch=1, seed=0):
    noise = Samples(range(batch), seed).normal(points, points // 2 + 1, 2)
    return periodic_square(noise, 7.0**1.5, 7.0, 2.5, TURN)


def run(flow, w, steps):
    for _ in range(steps):
        w = flow.step(w)
    return w


def kolmogorov_force(points, n):
    return (-n * torch.cos(n * grid(points)[1])).expand(points, points)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-8), (torch.float32, 5e-5)])
def test_taylor_green_decays_at_the_exact_rate(dtype, limit):
    x, y = grid(32)
    start = 2 * torch.cos(x) * torch.cos(y)
    flow = equation(viscosity=0.05, drag=0.1, dt=1e-3, dtype=dtype)
    w = run(flow, flow.spectrum(start[None].to(dtype)), 1000)
    expected = start * math.exp(-(2 * 0.05 + 0.1))
    assert float((flow.field(w)[0] - expected).abs().max()) < limit


def test_taylor_green_decay_is_second_order_in_time():
    x, y = grid(16)
    start = torch.sin(2 * x) * torch.sin(y)

    def error(steps):
        flow = equation(16, dt=1.0 / steps, viscosity=0.3)
        return float(
            (flow.field(run(flow, flow.spectrum(start[None]), steps))[0] - start * math.exp(-1.5))
            .abs()
            .max()
        )

    assert 1.95 < math.log2(error(20) / error(40)) < 2.05


def test_turbulent_flow_is_second_order_in_time():
    force = kolmogorov_force(32, 4)

    def end(steps):
        flow = equation(dt=0.5 / steps, viscosity=0.01, drag=0.1, forcing=force)
        return run(flow, random_flow(32) * flow.mask, steps)

    exact = end(1600)
    errors = [float((end(steps) - exact).abs().norm()) for steps in (50, 100, 200)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(1.85 < p < 2.15 for p in orders), (errors, orders)


def test_laminar_kolmogorov_flow_stays():
    n, reynolds, drag = 3, 20.0, 0.1
    force = kolmogorov_force(32, n)
    flow = equation(dt=0.02, viscosity=1 / reynolds, drag=drag, forcing=force)
    laminar = force / (n**2 / reynolds + drag)
    w = flow.spectrum(laminar[None])
    torch.testing.assert_close(flow.field(run(flow, w, 50))[0], laminar, rtol=0, atol=1e-10)
    # from rest, one Crank-Nicolson step of the forced linear equation
    rest = flow.field(flow.step(torch.zeros_like(w)))[0]
    rate = n**2 / reynolds + drag
    torch.testing.assert_close(rest, 0.02 * force / (1 + 0.01 * rate), rtol=0, atol=1e-12)


def test_mean_vorticity_stays_zero():
    flow = equation(forcing=kolmogorov_force(32, 2), dtype=torch.float32)
    w = run(flow, random_flow(32, 2).to(torch.complex64) * flow.mask, 50)
    assert float(flow.field(w).mean((1, 2)).abs().max()) < 1e-6


def test_energy_and_enstrophy_are_conserved_without_viscosity():
    def drift(steps):
        flow = equation(viscosity=0.0, dt=0.2 / steps)
        start = random_flow(32) * flow.mask
        end = run(flow, start, steps)
        fields = [torch.fft.irfft2(w[:, None] * flow.velocity, s=(32, 32)) for w in (start, end)]
        kinetic = [float(f.square().mean()) for f in fields]
        squares = [float(flow.field(w).square().mean()) for w in (start, end)]
        return abs(kinetic[1] / kinetic[0] - 1), abs(squares[1] / squares[0] - 1)

    assert max(drift(400)) < 1e-7
    # what Heun's method adds vanishes with the cube of the time step
    for coarse, fine in zip(drift(50), drift(100), strict=True):
        assert 2.7 < math.log2(coarse / fine) < 3.3


def test_energy_balance_of_the_forced_flow():
    viscosity, drag, dt = 0.02, 0.1, 1e-4
    force = kolmogorov_force(32, 4)
    flow = equation(dt=dt, viscosity=viscosity, drag=drag, forcing=force)
    before = random_flow(32) * flow.mask
    middle = flow.step(before)
    after = flow.step(middle)

    def mean(field):
        return float(field.mean())

    def velocity(w):
        return torch.fft.irfft2(w[:, None] * flow.velocity, s=(32, 32))

    def kinetic(w):
        return 0.5 * mean(velocity(w).square().sum(1))

    rate = (kinetic(after) - kinetic(before)) / (2 * dt)
    push = torch.sin(4 * grid(32)[1])  # the force on u whose curl is -4 cos(4 y)
    balance = mean(velocity(middle)[:, 0] * push) - 2 * drag * kinetic(middle)
    balance -= viscosity * mean(flow.field(middle).square())
    assert rate == pytest.approx(balance, rel=1e-5)


def test_agrees_with_exponax():
    exponax = pytest.importorskip("exponax")
    jax = pytest.importorskip("jax")
    n, viscosity = 32, 0.05
    x, y = grid(n)
    flow = equation(n, 1e-3, viscosity, drag=0.1, forcing=kolmogorov_force(n, 2))
    start = torch.sin(x) * torch.cos(y) + torch.cos(2 * x + y) + 0.5 * torch.sin(3 * y - x)
    ours = flow.field(run(flow, flow.spectrum(start[None]), 500))[0].numpy()
    with jax.enable_x64(True):
        # exponax's variable is u_y - v_x, the other sign of rotation
        options = {"drag": -0.1, "injection_mode": 2, "convection_scale": -1.0, "order": 4}
        step = exponax.stepper.KolmogorovFlowVorticity(
            2, TURN, n, 1e-3, diffusivity=viscosity, **options
        )
        theirs = np.asarray(exponax.repeat(step, 500)(start.numpy()[None]))[0]
    assert float(np.linalg.norm(start.numpy() - theirs) / np.linalg.norm(theirs)) > 0.5
    assert float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) < 1e-4


def test_default_time_step_is_converged():
    options = {"grid": 32, "frames": 3, "dt_frame": 0.5, "spin_up": 0.5, "reynolds": 40.0}
    options["forcing_wavenumber"] = 2
    coarse = kolmogorov(Samples(range(2)), **options).fields["vorticity"].values
    fine = kolmogorov(Samples(range(2)), dt=1e-3, **options).fields["vorticity"].values
    assert float((coarse - fine).norm() / fine.norm()) < 1e-3


def test_frames_continue_each_other():
    options = {"grid": 16, "dt_frame": 0.2, "spin_up": 0.0, "forcing_wavenumber": 2, "dt": 0.05}
    long = kolmogorov(Samples(range(1)), frames=5, **options)
    short = kolmogorov(Samples(range(1)), frames=2, **{**options, "dt_frame": 0.8})
    both = long.fields["vorticity"].values[:, 4], short.fields["vorticity"].values[:, 1]
    torch.testing.assert_close(*both)
    torch.testing.assert_close(long.axes["time"].values, 0.2 * torch.arange(5).double())


def test_stride_keeps_points_and_coordinates():
    options = {"grid": 24, "frames": 2, "dt_frame": 0.1, "forcing_wavenumber": 2, "spin_up": 0.1}
    full = kolmogorov(Samples(range(1)), **options)
    part = kolmogorov(Samples(range(1)), stride=3, **options)
    expected = full.fields["vorticity"].values[..., ::3, ::3]
    torch.testing.assert_close(part.fields["vorticity"].values, expected)
    torch.testing.assert_close(part.axes["y"].values, full.axes["y"].values[::3])


def test_unforced_navier_stokes_decays_and_starts_from_its_field():
    data = navier_stokes(
        Samples(range(2)), grid=32, stride=1, frames=3, dt_frame=0.5, forcing="none", dt=0.01
    )
    w = data.fields["vorticity"].values
    size = w.square().mean((2, 3))
    assert bool((size.diff(dim=1) < 0).all())
    noise = Samples(range(2)).normal(32, 17, 2)
    start = torch.fft.irfft2(periodic_square(noise, 7.0**1.5, 7.0, 2.5, 1.0), s=(32, 32))
    assert float((w[:, 0] - start).norm() / start.norm()) < 0.15  # only the circle of modes is kept


def test_navier_stokes_force_drives_the_diagonal_mode():
    # from rest, one short frame: w = t f
    data = navier_stokes(
        Samples(range(1)), grid=16, stride=1, frames=2, dt_frame=1e-3, dt=1e-3, alpha=40.0
    )
    w = data.fields["vorticity"].values[0]
    x = torch.arange(16, dtype=torch.float64) / 16
    phase = TURN * (x[:, None] + x)
    force = 0.1 * (torch.sin(phase) + torch.cos(phase))
    torch.testing.assert_close(w[1] - w[0], 1e-3 * force, rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 5}, "stride=5 must be at least 1 and divide grid=16"),
        ({"forcing_wavenumber": 8}, "forcing_wavenumber=8 is not resolved by grid=16"),
        ({"reynolds": 0.0}, "reynolds is 0.0, but it must be a number above 0"),
        ({"frames": 0}, "frames is 0, but it must be at least 1"),
        ({"dt": -1.0}, "dt is -1.0, but it must be a number above 0"),
        ({"drag": -0.1}, "drag is -0.1, but it must be at least 0"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        kolmogorov(Samples(range(1)), **{"grid": 16, "forcing_wavenumber": 2, **options})
