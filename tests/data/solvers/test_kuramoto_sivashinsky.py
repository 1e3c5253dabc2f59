from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from surform.data.solvers import kuramoto_sivashinsky as module
from surform.data.solvers.kuramoto_sivashinsky import kuramoto_sivashinsky
from surform.data.solvers.samples import Samples


def start_from(monkeypatch, field):
    monkeypatch.setattr(module, "_initial", lambda samples, modes, waves: torch.fft.rfft(field))


@pytest.mark.parametrize("mode", [1, 3, 6, 9])
def test_small_waves_grow_at_the_linear_rate(monkeypatch, mode):
    length, points = 32.0, 64
    k = 2 * math.pi * mode / length
    x = length * torch.arange(points, dtype=torch.float64) / points
    wave = torch.sin(k * x)[None]
    start_from(monkeypatch, 1e-7 * wave)
    options = {"points": points, "modes": points, "length": length}
    u = (
        kuramoto_sivashinsky(Samples(range(1)), frames=2, dt_frame=3.0, **options)
        .fields["u"]
        .values
    )
    torch.testing.assert_close(
        u[0, 1], 1e-7 * math.exp(3 * (k**2 - k**4)) * wave[0], rtol=0, atol=1e-12
    )


def test_order_in_time_rises_to_four(monkeypatch):
    options = {"points": 64, "modes": 64, "length": 22.0, "frames": 2}

    def end(dt, time):
        data = kuramoto_sivashinsky(Samples(range(2)), dt=dt, dt_frame=time, **options)
        return data.fields["u"].values[:, 1]

    start_from(monkeypatch, end(0.02, 60.0))
    exact = end(0.001, 2.0)
    errors = [float((end(dt, 2.0) - exact).norm()) for dt in (0.05, 0.025, 0.0125, 0.00625)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    # below four while the fastest decaying modes are not resolved in time
    assert orders == sorted(orders)
    assert all(3.2 < p < 4.2 for p in orders), (errors, orders)
    assert orders[-1] > 3.6


def test_mean_is_conserved_and_the_state_stays_bounded():
    data = kuramoto_sivashinsky(Samples(range(4)), frames=20, dt_frame=10.0, dt=0.1)
    u = data.fields["u"].values
    assert float(u.mean(-1).abs().max()) < 1e-12
    assert 1.0 < float(u[:, 10:].std()) < 1.6  # the known attractor
    assert float(u.abs().max()) < 5


def test_agrees_with_exponax(monkeypatch):
    exponax = pytest.importorskip("exponax")
    jax = pytest.importorskip("jax")
    options = {"points": 64, "modes": 64, "length": 22.0, "dt": 0.02}
    data = kuramoto_sivashinsky(Samples(range(2)), frames=2, dt_frame=10.0, **options)
    start, ours = data.fields["u"].values.unbind(1)
    with jax.enable_x64(True):
        step = exponax.stepper.KuramotoSivashinskyConservative(1, 22.0, 64, 0.02, order=4)
        theirs = jax.vmap(exponax.repeat(step, 500))(start.numpy()[:, None])[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_spin_up_skips_frames():
    options = {"points": 64, "modes": 64, "length": 22.0}
    late = (
        kuramoto_sivashinsky(Samples(range(2)), frames=2, spin_up=3.0, **options).fields["u"].values
    )
    full = kuramoto_sivashinsky(Samples(range(2)), frames=5, **options).fields["u"].values
    torch.testing.assert_close(late, full[:, 3:])
