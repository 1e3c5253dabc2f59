from __future__ import annotations

import math

import pytest
import torch

from surform.data.solvers.mac import (
    PressureSolver,
    advect,
    advect_velocity,
    diffuse,
    divergence,
    to_faces,
)
from surform.data.solvers.samples import Samples
from surform.data.solvers.smoke import smoke, smoke_step


def random_velocity(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inner = [[n, n, n] for _ in range(3)]
    velocity = []
    for axis, shape in enumerate(inner):
        shape[axis] = n + 1
        v = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        v.select(axis + 1, 0).zero_()
        v.select(axis + 1, n).zero_()
        velocity.append(v)
    return velocity


def centres(n):
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.meshgrid(x, x, x, indexing="ij")


def faces(n, axis):
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    edges = torch.arange(n + 1, dtype=torch.float64) / n
    return torch.meshgrid(*[edges if a == axis else x for a in range(3)], indexing="ij")


def test_projection_removes_all_divergence_and_changes_nothing_twice():
    solver = PressureSolver(9, 0.3, torch.float64)
    velocity = solver.project(random_velocity(9))
    assert float(divergence(velocity, 0.3).abs().max()) < 1e-12
    for once, twice in zip(velocity, solver.project(velocity), strict=True):
        torch.testing.assert_close(once, twice, rtol=0, atol=1e-13)


def test_projection_in_float32_is_free_of_divergence_to_round_off():
    solver = PressureSolver(16, 0.5, torch.float32)
    velocity = solver.project([v.float() for v in random_velocity(16)])
    assert float(divergence(velocity, 0.5).abs().max()) < 1e-4


def test_walls_stay_closed():
    solver = PressureSolver(6, 1.0, torch.float64)
    velocity = solver.project(diffuse(advect_velocity(random_velocity(6), 0.7), 0.1))
    for axis, v in enumerate(velocity):
        assert float(v.select(axis + 1, 0).abs().max()) == 0.0
        assert float(v.select(axis + 1, 6).abs().max()) == 0.0


@pytest.mark.parametrize("mode", [(1, 0, 0), (2, 3, 1), (0, 4, 4), (6, 6, 6)])
def test_poisson_is_exact_for_discrete_modes(mode):
    n, h = 7, 0.25
    solver = PressureSolver(n, h, torch.float64)
    p = torch.ones(n, n, n, dtype=torch.float64)
    eigenvalue = 0.0
    for x, k in zip(centres(n), mode, strict=True):
        p = p * torch.cos(math.pi * k * x)
        eigenvalue -= (2 / h * math.sin(math.pi * k / (2 * n))) ** 2
    torch.testing.assert_close(solver.pressure(eigenvalue * p[None])[0], p, rtol=0, atol=1e-13)


def test_pressure_is_second_order():
    def error(n):
        x, y, z = centres(n)
        p = torch.cos(math.pi * x) * torch.cos(2 * math.pi * y) * torch.cos(math.pi * z)
        source = -6 * math.pi**2 * p
        return float(
            (PressureSolver(n, 1 / n, torch.float64).pressure(source[None]) - p).abs().max()
        )

    assert 1.95 < math.log2(error(16) / error(32)) < 2.05


def test_advection_is_exact_for_linear_fields_away_from_walls():
    n, courant = 12, 0.8
    x, y, z = (c * n - 0.5 for c in centres(n))
    field = (2 * x - 3 * y + z)[None]
    flow = [torch.full_like(to_faces(field, a), v) for a, v in enumerate((0.5, -1.0, 0.25))]
    moved = advect(field, flow, courant)
    shift = courant * (2 * 0.5 - 3 * -1.0 + 0.25)
    inner = (slice(None), *(slice(2, -2),) * 3)
    torch.testing.assert_close(moved[inner], (field - shift)[inner])


def test_advection_makes_no_new_extremes_and_keeps_constants():
    velocity = random_velocity(8)
    field = torch.rand(2, 8, 8, 8, dtype=torch.float64)
    moved = advect(field, velocity, 3.0)
    assert float(field.min()) <= float(moved.min()) <= float(moved.max()) <= float(field.max())
    ones = torch.ones_like(field)
    torch.testing.assert_close(advect(ones, velocity, 3.0), ones)


def test_uniform_velocity_moves_itself_nowhere_inside():
    n = 10
    velocity = [torch.full_like(v, 0.3) for v in random_velocity(n)]
    moved = advect_velocity(velocity, 1.0)
    for v in moved:
        torch.testing.assert_close(
            v[:, 3:-3, 3:-3, 3:-3], torch.full_like(v, 0.3)[:, 3:-3, 3:-3, 3:-3]
        )


def test_swirl_transport_converges_in_space_and_time():
    # A steady swirl in the x-y plane; the density is a function of its stream function plus a
    # gradient along z, which it carries around for ever.
    def error(n):
        pi = math.pi
        velocity = []
        for axis in range(3):
            x, y, _ = faces(n, axis)
            u = torch.sin(pi * x) * torch.cos(pi * y)
            v = -torch.cos(pi * x) * torch.sin(pi * y)
            velocity.append([u, v, torch.zeros_like(u)][axis][None])
        x, y, _ = centres(n)
        start = (torch.sin(pi * x) * torch.sin(pi * y)).pow(2)[None]
        density, steps = start, n
        for _ in range(steps):
            density = advect(density, velocity, n * 0.5 / steps)
        return float((density - start).abs().mean())

    assert 0.8 < math.log2(error(16) / error(32)) < 1.3


def test_diffusion_of_a_mode_is_exact():
    n, amount = 12, 0.1
    x, _, _ = faces(n, 0)
    # along its own axis the walls are nodes; a narrow box of zeros around the other axes is not
    v = torch.sin(3 * math.pi * x)[None]
    found = diffuse([v, *random_velocity(n)[1:]], amount)[0]
    factor = 1 - 4 * amount * math.sin(3 * math.pi / (2 * n)) ** 2
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inner], factor * v[inner], rtol=0, atol=1e-13)


def test_diffusion_is_stable_beyond_the_limit_of_one_explicit_step():
    velocity = diffuse(random_velocity(8), 5.0)
    assert max(float(v.abs().max()) for v in velocity) < 1.0


def test_first_step_from_rest_is_the_projected_buoyancy():
    n, dt = 8, 0.5
    solver = PressureSolver(n, 1 / n, torch.float64)
    density = torch.rand(1, n, n, n, dtype=torch.float64)
    rest = [torch.zeros_like(to_faces(density, a)) for a in range(3)]
    same, velocity = smoke_step(density, rest, solver, dt, 0.5, 0.0)
    torch.testing.assert_close(same, density)
    push = [rest[0], rest[1], dt * 0.5 * to_faces(density, 2)]
    for found, expected in zip(velocity, solver.project(push), strict=True):
        torch.testing.assert_close(found, expected)


def test_uniform_smoke_does_not_move():
    density = torch.ones(1, 6, 6, 6, dtype=torch.float64)
    solver = PressureSolver(6, 1.0, torch.float64)
    velocity = [torch.zeros_like(to_faces(density, a)) for a in range(3)]
    for _ in range(3):
        density, velocity = smoke_step(density, velocity, solver, 0.5, 0.5, 0.0)
    # its weight is balanced by pressure alone
    assert max(float(v.abs().max()) for v in velocity) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_keep_mass_nearly_and_have_closed_lower_walls(dtype):
    data = smoke(Samples(range(2), dtype=dtype), grid=16, frames=4, skip=1, dt=0.25)
    density = data.fields["smoke"].values
    assert density.shape == (2, 4, 16, 16, 16)
    assert density.dtype == dtype
    assert float(density.min()) >= 0
    mass = density.sum((2, 3, 4))
    assert float((mass / mass[:, :1] - 1).abs().max()) < 0.03
    for axis, name in enumerate(("velocity_x", "velocity_y", "velocity_z")):
        assert float(data.fields[name].values.select(axis + 2, 0).abs().max()) == 0.0
    assert float(data.fields["velocity_z"].values.abs().max()) > 0.01
    torch.testing.assert_close(data.axes["time"].values, 0.25 * torch.arange(2, 6).double())


def test_marker_noise_is_smooth_and_normalised():
    still = smoke(Samples(range(2)), grid=16, frames=1, skip=0, buoyancy=0.0)
    marker = still.fields["smoke"].values
    spectrum = torch.fft.rfftn(marker - marker.mean(), dim=(2, 3, 4)).abs().square()
    assert float(spectrum[..., :4].sum() / spectrum.sum()) > 0.95
    assert 0.9 < float(marker.square().mean().sqrt()) < 1.1


def test_noise_without_modes_is_one_sentence():
    with pytest.raises(ValueError, match="noise_scale is so small"):
        smoke(Samples(range(1)), grid=4, noise_scale=1e-3)
