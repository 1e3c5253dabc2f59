"""What corrections do to flows whose fate without them is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from surform.data.normalizers import Normalizer
from surform.rollout import (
    Clamp,
    ConserveMean,
    EnergyLimit,
    Ensemble,
    RelativeL2,
    SpectralDamping,
    Trajectories,
    rollout,
    rollout_to,
)
from tests.rollout.channel import Shifting, channel

N = 16


class Step(nn.Module):
    """Applies a function to the last frame; trained on mean 0.1 and deviation 0.5."""

    def __init__(self, description, step, normalized=True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.description, self.step = description, step
        statistics = torch.tensor([0.1]), torch.tensor([0.5])
        if not normalized:
            statistics = torch.tensor(0.0), torch.tensor(1.0)
        self.target_normalizer = Normalizer(*statistics).double()

    def forward(self, inputs, coordinates):
        return self.step(inputs[:, -1:])


@pytest.fixture
def waves(flow, describe):
    """`waves({k: amplitude})`: cosines along x on a constant, and what a model of them knows."""

    def make(amplitudes, constant=0.3, periodic=True, frames=3):
        data = flow(samples=1, frames=frames, n=N, m=4)
        x = data["x"].values
        values = constant + sum(a * np.cos(k * x) for k, a in amplitudes.items())
        data["vorticity"].values[:] = values[:, None]
        about = describe(data, input_steps=1, periodic={"x": periodic, "y": True})
        return data, about

    return make


def amplitudes(field: np.ndarray) -> np.ndarray:
    """Of the waves along x, from a field (x, y)."""
    found = np.fft.rfft(field[:, 0], norm="forward").real
    found[1:-1] *= 2
    return found


def test_damping_multiplies_every_wave_by_its_factor_at_every_step(waves):
    data, about = waves({2: 1.0, 4: 0.7, 6: 0.5, 8: 0.25})
    damping = SpectralDamping(0.2, cutoff=0.5)
    found = rollout_to(None, Step(about, lambda u: u), data, 30, corrections=[damping])
    expected = {0: 0.3, 2: 1.0, 4: 0.7}
    expected[6] = 0.5 * np.exp(-30 * 0.2 * (0.25 / 0.5) ** 4)
    expected[8] = 0.25 * np.exp(-30 * 0.2)
    got = amplitudes(found["vorticity"].values[0, -1])
    for k in range(N // 2 + 1):
        assert got[k] == pytest.approx(expected.get(k, 0.0), abs=1e-13)
    assert found.attrs["corrections"] == "SpectralDamping(strength=0.2, cutoff=0.5)"


def test_damping_stops_a_growth_below_its_strength(waves):
    data, about = waves({8: 1e-3})
    grow = Step(about, lambda u: 0.3 + 1.1 * (u - 0.3))
    free = rollout_to(None, grow, data, 60)
    damped = rollout_to(None, grow, data, 60, corrections=[SpectralDamping(0.12)])
    assert amplitudes(free["vorticity"].values[0, -1])[8] == pytest.approx(1e-3 * 1.1**60)
    kept = 1e-3 * (1.1 * np.exp(-0.12)) ** 60
    assert amplitudes(damped["vorticity"].values[0, -1])[8] == pytest.approx(kept)


def test_damping_leaves_axes_with_walls_alone(waves):
    data, about = waves({8: 1.0}, periodic=False)
    found = rollout_to(None, Step(about, lambda u: u), data, 5, corrections=[SpectralDamping(1.0)])
    np.testing.assert_allclose(found["vorticity"][0, -1], data["vorticity"][0, 0], atol=1e-14)


def test_odd_axes_can_be_damped():
    factor = SpectralDamping(2.0, cutoff=0.0).factor(9)
    assert factor.shape == (5,)
    torch.testing.assert_close(factor, torch.exp(-2 * (torch.arange(5.0).double() / 4) ** 4))


def test_clamped_growth_saturates_at_the_edge_of_the_training_range(waves):
    data, about = waves({1: 0.4}, constant=0.0)
    grow = Step(about, lambda u: 1.2 * u)
    found = rollout_to(None, grow, data, 60, corrections=[Clamp(3)])
    last = found["vorticity"].values[0, -1]
    assert (last.max(), last.min()) == pytest.approx((1.6, -1.4))
    assert found.attrs["blow_up"] == "none"
    free = rollout_to(None, grow, data, 5)
    inside = rollout_to(None, grow, data, 5, corrections=[Clamp(100)])
    xr.testing.assert_equal(found["vorticity"][:, :5], free["vorticity"])
    xr.testing.assert_equal(inside["vorticity"], free["vorticity"])


def test_a_clamp_does_not_hide_what_is_not_finite(waves):
    data, about = waves({1: 0.4})
    for bad in (np.inf, np.nan):
        model = Step(about, lambda u, bad=bad: u + torch.tensor([bad] + [0.0] * 3)[:, None])
        found = rollout_to(None, model, data, 3, corrections=[Clamp(5)])
        assert found["blow_up_step"].values.tolist() == [0]


def test_the_mean_is_that_of_the_start_and_walls_stay_at_rest():
    data = channel(samples=2)
    model = Shifting(data)
    leaking = Step(model.description, lambda u: 0.99 * model(u, ()))
    found = rollout_to(
        None,
        leaking,
        data,
        50,
        ensemble=Ensemble(2, 0.05, seed=3),
        corrections=[ConserveMean(("u", "v"))],
    )
    over = ("x", "y", "z")
    u, v, w = (found[name].mean(over) for name in ("u", "v", "w"))
    for kept in (u, v):
        np.testing.assert_allclose(kept, kept.isel(time=0).broadcast_like(kept), atol=1e-14)
    assert float(abs(w[:, :, -1]).max()) < 0.7 * float(abs(w[:, :, 0]).max())
    still = rollout_to(None, leaking, data, 50, corrections=[ConserveMean(("u",))])
    assert float(abs(still["u"].isel(y=[0, -1])).max()) == 0
    np.testing.assert_allclose(still["u"].mean(over)[:, -1], data["u"].mean(over)[:, 0])


def test_on_periodic_axes_only_the_mean_is_shifted(waves):
    data, about = waves({3: 1.0})
    drift = Step(about, lambda u: u + 0.01)
    found = rollout_to(None, drift, data, 40, corrections=[ConserveMean(["vorticity"])])
    np.testing.assert_allclose(found["vorticity"][0, -1], data["vorticity"][0, 0], atol=1e-13)


def test_energy_changes_by_no_more_than_in_the_data(waves):
    data, about = waves({1: 1.0}, constant=0.0, frames=6)
    sizes = np.sqrt([1, 1.1, 1.3, 1.2, 1.25, 1.25])  # energies: a quarter of their squares
    limit = EnergyLimit(data.assign(vorticity=data["vorticity"] * sizes[:, None, None]))
    for factor, change in ((1.5, 0.05), (0.5, -0.025)):
        model = Step(about, lambda u, factor=factor: factor * u)
        found = rollout_to(None, model, data, 8, corrections=[limit])
        energy = (found["vorticity"] ** 2).mean(("x", "y"))[0] / 2
        np.testing.assert_allclose(energy, 0.25 + change * np.arange(1, 9), rtol=1e-12)
    gentle = Step(about, lambda u: 1.01 * u)
    free = rollout_to(None, gentle, data, 8)
    xr.testing.assert_equal(
        rollout_to(None, gentle, data, 8, corrections=[limit])["vorticity"], free["vorticity"]
    )
    assert "EnergyLimit()" in found.attrs["corrections"]


def test_finer_data_are_read_on_the_time_step_of_the_model(flow, describe):
    fine = flow(samples=2, step=0.25, factor=0.95, frames=12)
    about = describe(fine, input_steps=1)
    still = Step(about, lambda u: u)
    found = rollout_to(None, still, fine, 4, corrections=[EnergyLimit(fine)])
    energy = (fine["vorticity"] ** 2).mean(("x", "y")) / 2
    changes = energy[:, ::2].diff("time")
    after = (found["vorticity"] ** 2).mean(("x", "y")) / 2
    most = float(changes.max())  # a decay: even the least of it is one
    np.testing.assert_allclose(after[1, 0] - energy[1, 0], most, rtol=1e-10)


def test_corrections_work_one_after_the_other_on_every_frame_of_a_call(linear):
    model, seen = linear(0.9, frames=3).double(), []

    def correct(frame, before):
        seen.append((float(frame[0, 0, 0, 0]), float(before[0, 0, 0, 0])))
        return frame + 1

    start = torch.ones(1, 2, 4, 4, 1, dtype=torch.float64)
    axes = (torch.arange(4.0),) * 2
    frames = list(rollout(model, start, axes, 4, correct=correct))
    values = [float(frame[0, 0, 0, 0]) for frame in frames]
    assert values == pytest.approx([1.9, 1.81, 1.729, 1.729 * 0.9 + 1])
    assert [before for _, before in seen] == pytest.approx([1.0, 1.9, 1.81, 1.729, 2.5561, 2.40049])


def test_errors_are_those_of_the_corrected_frames(waves):
    data, about = waves({8: 0.5}, constant=0.0)
    damping = SpectralDamping(0.5)
    model = Step(about, lambda u: u)
    found = rollout_to(None, model, data, 2, corrections=[damping], observers=[RelativeL2()])
    np.testing.assert_allclose(found["vorticity_relative_l2"][0], 1 - np.exp([-0.5, -1]))


def test_gradients_flow_through_corrections(waves):
    data, about = waves({1: 1.0})
    factor = torch.tensor(1.0, requires_grad=True, dtype=torch.float64)
    start = torch.from_numpy(data["vorticity"].values[:, :1, ..., None])
    damp = SpectralDamping(0.5).bind(Trajectories.of(data, about), Step(about, None))
    axes = (torch.arange(N), torch.arange(4))
    step = lambda u, c: factor * u[:, -1:]  # noqa: E731
    *_, last = rollout(step, start, axes, 2, gradients=True, correct=damp)
    last.sum().backward()
    assert float(factor.grad) == pytest.approx(2 * 0.3 * N * 4)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: SpectralDamping(0.0), "must be above 0, not 0.0"),
        (lambda data: SpectralDamping(1.0, cutoff=1.0), r"lies in \[0, 1\), not at 1.0"),
        (lambda data: Clamp(-1), "more than 0 deviations, not -1"),
        (lambda data: Clamp(0.2), r"vorticity is 0.7 where sample 0 starts, more than 0.2 dev"),
        (lambda data: ConserveMean(["p"]), "conserve is that of p: choose from vorticity"),
        (lambda data: ConserveMean([]), "that of no variable"),
        (lambda data: EnergyLimit(data.isel(time=[0])), "two frames at least"),
        (lambda data: EnergyLimit(data.where(data["x"] > 1)), "values that are not finite"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(waves, make, message):
    data, about = waves({1: 0.4})
    with pytest.raises(ValueError, match=message):
        rollout_to(None, Step(about, lambda u: u), data, 2, corrections=[make(data)])


@pytest.mark.fault
def test_grids_and_models_that_do_not_suit(waves):
    data, about = waves({1: 0.4})
    raw = Step(about, lambda u: u, normalized=False)
    with pytest.raises(ValueError, match="does not normalise its targets"):
        rollout_to(None, raw, data, 2, corrections=[Clamp(5)])
    walls = about.__class__(**{**vars(about), "periodic": {"x": False, "y": False}})
    with pytest.raises(ValueError, match="needs a periodic axis, x, y are not"):
        rollout_to(None, Step(walls, lambda u: u), data, 2, corrections=[SpectralDamping(1.0)])
    thin = channel(shape=(8, 2, 6))
    with pytest.raises(ValueError, match="no inner points"):
        rollout_to(None, Shifting(thin), thin, 2, corrections=[ConserveMean(["u"])])
