"""Channel flow against exact modes, the Orr-Sommerfeld equation, and its own budgets."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.polynomial import legendre

from surform.data.solvers.channel import channel
from surform.data.solvers.channel_grid import CoarseGrid
from surform.data.solvers.channel_modes import ChannelModes, Flow
from surform.data.solvers.channel_start import laminar, noisy_start, refined
from surform.data.solvers.channel_step import BULK, ChannelEquation
from surform.data.solvers.samples import Samples
from surform.data.solvers.wall_modes import poloidal_modes, toroidal_modes

BOX = (math.pi, 1.2)


def flow_between_walls(
    points=(8, 17, 8), dt=0.01, dtype=torch.float64, viscosity=1 / 400, **options
):
    modes = ChannelModes(points, BOX, dtype)
    return ChannelEquation(modes, viscosity, dt, **options)


def noisy(equation, noise=0.3, seed=0, batch=1):
    return noisy_start(equation, Samples(range(batch), seed), noise)


def combined(one, other, factor):
    return Flow(*(a + factor * b for a, b in zip(one, other, strict=True)))


def inner(modes, one, other):
    """The inner product that `ChannelModes.energy` comes from."""
    return (modes.energy(combined(one, other, 1)) - modes.energy(combined(one, other, -1))) / 2


def size(modes, flow):
    return float(modes.energy(flow).max().sqrt())


# -- modes ---------------------------------------------------------------------------------------


def test_toroidal_rates_are_those_of_sines():
    rates = toroidal_modes(40).rates.flip(0)
    j = torch.arange(1, 16, dtype=torch.float64)
    torch.testing.assert_close(rates.sort().values[:15], (j * math.pi / 2) ** 2, rtol=1e-10, atol=0)


def test_noise_is_the_same_on_every_grid_and_made_of_slow_modes():
    equations = [flow_between_walls(points) for points in ((8, 17, 8), (12, 33, 16))]
    coarse, fine = (noisy(equation, 0.1) for equation in equations)
    rates = equations[0].modes.dissipation(coarse), equations[1].modes.dissipation(fine)
    assert float(rates[0]) < 1000  # the fastest modes have rates of 1e5
    assert float((rates[0] / rates[1]).log().abs()) < math.log(2)
    # what both resolve is in proportion: a part of the energy lies in waves of the finer alone
    a, b = coarse.toroidal[:6, 0, 1, 1], fine.toroidal[:6, 0, 1, 1]
    torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("k", [0.3, 2.0, 11.0])
def test_poloidal_rates_solve_the_dispersion_relation_of_stokes_flow(k):
    parts = poloidal_modes(48, torch.tensor([k], dtype=torch.float64))
    even, odd = (np.sqrt(part.rates[0].sort().values[:6].numpy() - k**2) for part in parts)
    # v is cos(q y) / cos(q) - cosh(k y) / cosh(k), or the same with sines
    for q, zero in (
        (even, even * np.sin(even) + k * np.tanh(k) * np.cos(even)),
        (odd, odd * np.cos(odd) * np.tanh(k) - k * np.sin(odd)),
    ):
        np.testing.assert_allclose(zero / (k + q), 0, atol=1e-9)
        # none is left out: they are half a wave apart
        np.testing.assert_allclose(np.diff(q), math.pi, atol=0.6)


# -- the flow as a whole -------------------------------------------------------------------------


def derivatives(equation, fields):
    """The gradient of coefficients (..., ny, B, nx, m), by an independent differentiation in y."""
    nx, ny, _ = equation.modes.points
    values = legendre.legvander(equation.y, ny - 1)
    slopes = legendre.legvander(equation.y, ny - 2) @ legendre.legder(np.eye(ny))
    matrix = torch.from_numpy(slopes @ np.linalg.inv(values)).to(fields.dtype)
    kx = 2 * math.pi / BOX[0] * torch.fft.fftfreq(nx, 1 / nx, dtype=torch.float64)
    kz = 2 * math.pi / BOX[1] * torch.arange(fields.shape[-1], dtype=torch.float64)
    across = torch.einsum("qp,...pbxz->...qbxz", matrix, fields)
    return 1j * kx[:, None] * fields, across, 1j * kz * fields


def test_refined_flow_is_the_same_on_more_points():
    coarse, fine = flow_between_walls((4, 9, 8)), flow_between_walls((8, 17, 12))
    flow = noisy(coarse, batch=2)
    more = refined(flow, coarse, fine)
    fields = [
        CoarseGrid(equation.modes, (4, 7, 8), "uniform", False).velocity(a)
        for equation, a in ((coarse, flow), (fine, more))
    ]
    torch.testing.assert_close(*fields, rtol=0, atol=1e-13)
    torch.testing.assert_close(fine.modes.energy(more), coarse.modes.energy(flow))


def test_velocity_is_free_of_divergence_and_has_the_vorticity_of_its_curl():
    equation = flow_between_walls()
    fields = equation.kinematics(noisy(equation))
    (ux, uy, uz), (vx, vy, vz), (wx, wy, wz) = (derivatives(equation, f) for f in fields[:3])
    assert float((ux + vy + wz).abs().max()) < 1e-13
    curl = torch.stack([wy - vz, uz - wx, vx - uy])
    torch.testing.assert_close(fields[3:], curl, rtol=0, atol=1e-12)


def test_divergence_stays_at_round_off_after_many_steps_in_float32():
    equation = flow_between_walls(dtype=torch.float32)
    flow = noisy(equation)
    for _ in range(50):
        flow, _ = equation.step(flow)
    velocity = equation.modes.velocity(flow, equation.at).to(torch.complex128)
    ux, vy, wz = (derivatives(equation, f)[i] for i, f in enumerate(velocity))
    assert float((ux + vy + wz).abs().max()) < 3e-5 * float(ux.abs().max())


def test_energy_and_dissipation_are_the_integrals_of_the_fields():
    equation = flow_between_walls()
    flow = noisy(equation, batch=2)
    velocity = equation.modes.velocity(flow, equation.at)
    weights = torch.from_numpy(legendre.leggauss(len(equation.y))[1])

    def integral(coefficients):
        fields = equation.physical(coefficients)
        return torch.einsum("q,...qbxz->b", weights, fields.square()) / math.prod(equation.fine)

    torch.testing.assert_close(equation.modes.energy(flow), integral(velocity) / 2)
    gradients = torch.stack(derivatives(equation, velocity))
    torch.testing.assert_close(equation.modes.dissipation(flow), integral(gradients))


def test_projection_keeps_flows_and_removes_gradients():
    equation = flow_between_walls()
    flow = noisy(equation, batch=2)
    fields = equation.physical(equation.modes.velocity(flow, equation.at))
    for found, expected in zip(equation.project(fields), flow, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    pressure = equation.modes.velocity(flow, equation.at)[0]
    pressure[:, :, 0, 0] = 0
    gradient = equation.physical(torch.stack(derivatives(equation, pressure)))
    assert size(equation.modes, equation.project(gradient)) < 1e-13


@pytest.mark.parametrize("frame", [0.0, 0.7])
def test_advection_neither_makes_nor_destroys_energy(frame):
    equation = flow_between_walls(frame=frame)
    flow = noisy(equation)
    force = equation.force(flow)
    power = float(inner(equation.modes, flow, force).abs())
    assert power < 1e-14 < 1e-3 < size(equation.modes, flow) * size(equation.modes, force)


def test_energy_budget_of_a_driven_flow():
    equation = flow_between_walls(dt=0.005)
    flow, modes = noisy(equation), equation.modes
    first, work = modes.energy(flow), 0.0
    rates = [equation.viscosity * modes.dissipation(flow)]
    for _ in range(20):
        flow, gradient = equation.step(flow)
        work += equation.dt * 2 * BULK * gradient
        rates.append(equation.viscosity * modes.dissipation(flow))
    lost = equation.dt * (sum(rates) - (rates[0] + rates[-1]) / 2)
    change = modes.energy(flow) - first
    assert float(lost) > 0.003
    assert float((change - work + lost).abs()) < 3e-3 * float(lost)


def test_flux_is_constant_and_its_price_is_the_wall_stress():
    equation = flow_between_walls((8, 65, 8))
    flow = noisy(equation)
    for _ in range(20):
        flow, gradient = equation.step(flow)
        flux = float((equation.flux * flow.mean[0]).sum())
        assert flux == pytest.approx(2 * BULK, abs=1e-13)
    assert float(gradient) == pytest.approx(float(equation.wall_stress(flow)), rel=1e-2)


def test_given_pressure_gradient_drives_the_laminar_flow():
    equation = flow_between_walls(viscosity=0.01, pressure_gradient=0.02, dt=5.0)
    flow = Flow(*(torch.zeros_like(a) for a in noisy(equation)))
    for _ in range(150):  # 18 times as long as the slowest mode takes to decay to 1/e
        flow, _ = equation.step(flow)
    torch.testing.assert_close(flow.mean, laminar(equation, 1).mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laminar_flow_is_steady(dtype):
    # steps of 0.1: over 0.01 one unit in the last place of the flux is a gradient of 1e-12 already
    equation = flow_between_walls(dtype=dtype, frame=0.5, dt=0.1)
    start = laminar(equation, 2)
    flow = start
    for _ in range(10):
        flow, gradient = equation.step(flow)
    tolerance = 1e-14 if dtype == torch.float64 else 2e-6
    for now, before in zip(flow, start, strict=True):
        torch.testing.assert_close(now, before, rtol=0, atol=tolerance)
    error = (gradient / (2 * equation.viscosity) - 1).abs()
    assert float(error.max()) < 100 * tolerance  # what round-off of the flux is over a step


def test_stokes_modes_decay_at_their_rates():
    equation = flow_between_walls(viscosity=0.1, pressure_gradient=0.0, dt=0.002)
    start = noisy(equation, noise=1e-7)
    start.mean.zero_()
    flow = start
    for _ in range(50):
        flow, _ = equation.step(flow)
    for now, before, rate in zip(flow[:2], start[:2], equation.rates[:2], strict=True):
        slow = (rate < 300).expand_as(before)
        expected = before * (-0.1 * rate * 0.1).exp()
        torch.testing.assert_close(now[slow], expected[slow], rtol=0, atol=1e-11)
        assert float(before[slow].abs().max()) > 1e-9


# -- Orr-Sommerfeld ------------------------------------------------------------------------------


def orr_sommerfeld(reynolds, alpha, n=80):
    """The least stable mode by Chebyshev collocation: c and v at the points cos(pi j / n)."""
    x = np.cos(np.pi * np.arange(n + 1) / n)
    c = np.r_[2, np.ones(n - 1), 2] * (-1) ** np.arange(n + 1)
    d = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    d -= np.diag(d.sum(1))
    # v = (1 - x^2) p is clamped if p vanishes at the walls (Trefethen's fourth derivative)
    s = np.diag(np.r_[0, 1 / (1 - x[1:-1] ** 2), 0])
    d2, d3 = d @ d, d @ d @ d
    d4 = (np.diag(1 - x**2) @ d3 @ d - 8 * np.diag(x) @ d3 - 12 * d2) @ s
    inside = slice(1, -1)
    d2, d4, one = d2[inside, inside], d4[inside, inside], np.eye(n - 1)
    laplace = d2 - alpha**2 * one
    viscous = (d4 - 2 * alpha**2 * d2 + alpha**4 * one) / (1j * alpha * reynolds)
    base = np.diag(1 - x[inside] ** 2)
    values, vectors = scipy.linalg.eig(base @ laplace + 2 * one - viscous, laplace)
    best = np.argmax(np.where(np.abs(values) < 10, values.imag, -np.inf))
    return values[best], x, np.r_[0, vectors[:, best], 0]


def growing_wave(ny, reynolds=10000, alpha=1.0, amplitude=1e-5, dt=0.02):
    """The solver with the laminar flow and the unstable wave on it."""
    modes = ChannelModes((4, ny, 2), (2 * math.pi / alpha, 1.0), torch.float64)
    equation = ChannelEquation(modes, 1 / reynolds, dt, frame=0.4)
    c, x, v = orr_sommerfeld(reynolds, alpha)
    fit = np.polynomial.chebyshev.Chebyshev.fit(x, v / np.abs(v).max(), len(x) - 1)
    y = equation.y
    profile = torch.from_numpy(np.stack([1j * fit.deriv()(y) / alpha, fit(y)]))
    phase = torch.arange(equation.fine[0], dtype=torch.float64) / equation.fine[0] * 2 * math.pi
    wave = (profile[:, :, None] * torch.exp(1j * phase)).real
    fields = torch.zeros(3, ny, 1, *equation.fine, dtype=torch.float64)
    fields[:2] = amplitude * wave[:, :, None, :, None]
    return equation, combined(laminar(equation, 1), equation.project(fields), 1), c


def measured_speed(ny, time=2.0, **options):
    """The complex phase speed from the change of the wave over some time."""
    equation, flow, _ = growing_wave(ny, **options)
    grid = CoarseGrid(equation.modes, (4, 65, 2), "cosine", False)
    steps = round(time / equation.dt)

    def profile(flow, step):
        velocity = grid.velocity(flow, equation.frame * equation.dt * step)
        return torch.fft.rfft(velocity[1, 0, :, :, 0], dim=0)[1]

    before = profile(flow, 0)
    for _ in range(steps):
        flow, _ = equation.step(flow)
    after = profile(flow, steps)
    ratio = torch.vdot(before, after) / torch.vdot(before, before)
    return 1j * np.log(complex(ratio)) / (steps * equation.dt)  # exp(-i alpha c t), alpha = 1


def test_unstable_wave_grows_as_published():
    # Orszag, J. Fluid Mech. 50 (1971)
    published = 0.23752649 + 0.00373967j
    assert abs(orr_sommerfeld(10000, 1.0)[0] - published) < 2e-8
    assert abs(measured_speed(65) - published) < 2e-8


def test_wave_converges_spectrally_across():
    exact = orr_sommerfeld(10000, 1.0)[0]
    errors = [abs(measured_speed(ny) - exact) for ny in (33, 41, 49)]
    assert errors[0] > 1e-6
    assert all(b < a / 5 for a, b in pairwise(errors)), errors


# -- convergence in time -------------------------------------------------------------------------


def test_order_in_time_in_a_nonlinear_flow():
    def after(steps):
        equation = flow_between_walls(dt=0.4 / steps, viscosity=1 / 400, frame=0.3)
        flow = noisy(equation)
        for _ in range(steps):
            flow, _ = equation.step(flow)
        return equation.modes, flow

    modes, exact = after(320)
    errors = [size(modes, combined(after(n)[1], exact, -1)) for n in (10, 20, 40)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 1e-4
    assert all(1.9 < order < 3.2 for order in orders), orders


def test_the_frame_changes_nothing_but_the_steps():
    fields = []
    for frame in (0.0, 0.5):
        equation = flow_between_walls(dt=0.0025, frame=frame)
        flow = noisy(equation)
        for _ in range(80):
            flow, _ = equation.step(flow)
        grid = CoarseGrid(equation.modes, (8, 17, 8), "uniform", False)
        fields.append(grid.velocity(flow, frame * 0.2))
    torch.testing.assert_close(fields[0], fields[1], rtol=0, atol=2e-6)


# -- grids that are stored -----------------------------------------------------------------------


def test_samples_across_are_values_of_the_flow_and_averages_its_means():
    equation = flow_between_walls()
    flow = noisy(equation)
    points = (8, 9, 8)
    sampled = CoarseGrid(equation.modes, points, "uniform", False).velocity(flow)
    averaged = CoarseGrid(equation.modes, points, "uniform", True).velocity(flow)
    fine = CoarseGrid(equation.modes, (8, 1601, 8), "uniform", False).velocity(flow)
    torch.testing.assert_close(sampled, fine[..., ::200, :], rtol=0, atol=1e-12)
    assert float(sampled[..., [0, -1], :].abs().max()) < 1e-13
    assert float(averaged[..., [0, -1], :].abs().max()) < 1e-13
    cell = fine[:, :, :, 300:501]
    mean = (cell.sum(3) - (cell[:, :, :, 0] + cell[:, :, :, -1]) / 2) / 200
    torch.testing.assert_close(averaged[:, :, :, 2], mean, rtol=0, atol=1e-4)
    assert float((averaged - sampled).abs().max()) > 1e-3


def test_short_waves_are_cut_off_and_a_shift_moves_the_flow():
    equation = flow_between_walls()
    flow = noisy(equation)
    full = CoarseGrid(equation.modes, (8, 5, 8), "cosine", False)
    coarse = CoarseGrid(equation.modes, (4, 5, 4), "cosine", False).velocity(flow)
    spectrum = torch.fft.fft2(full.velocity(flow), dim=(2, 4), norm="forward")
    expected = torch.fft.fft2(coarse, dim=(2, 4), norm="forward")
    for i, k in ((0, 0), (1, 1), (-1, -1)):
        torch.testing.assert_close(spectrum[:, :, i, :, k], expected[:, :, i, :, k])
    assert float(expected[:, :, 2].abs().max()) < 1e-15
    np.testing.assert_allclose(full.y, [-1, -math.sqrt(0.5), 0, math.sqrt(0.5), 1], atol=1e-15)
    step = BOX[0] / 8
    moved = full.velocity(flow, 3 * step)
    torch.testing.assert_close(moved, full.velocity(flow).roll(3, dims=2), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_turbulence_sustains_itself_at_the_reynolds_number_aimed_at():
    # Coarse for a direct simulation, but turbulence: the figures are in docs/solvers.md.
    data = channel(
        Samples(range(1), dtype=torch.float32), grid_x=16, grid_y=33, grid_z=16,
        spin_up=5.0, frames=60, dt_frame=2.0,
    )  # fmt: skip
    assert 155 < float(data.fields["reynolds_tau"].values) < 205
    u = data.fields["u"].values[0].double()
    rms = u.std((0, 1, 3), correction=0) / data.fields["u_tau"].values
    assert 2.0 < float(rms.max()) < 3.2  # 2.65 in a large channel at full resolution
    peak = 180 * (float(data.axes["y"].values[rms[:17].argmax()]))
    assert 8 < peak < 35
