"""The generator: windows, several frames per call, carried channels, gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from surform.rollout import rollout

GRID = (torch.arange(4.0), torch.arange(3.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_every_frame_follows_from_the_one_before(linear, frames, dtype):
    start = torch.randn(2, 3, 4, 3, 1, dtype=dtype)
    model = linear(0.5, frames).to(dtype)
    found = list(rollout(model, start, GRID, 7))
    assert len(found) == 7
    assert all(frame.shape == (2, 4, 3, 1) and frame.dtype == dtype for frame in found)
    for before, after in pairwise([start[:, -1], *found]):
        assert torch.equal(after, before * 0.5)


def test_window_drops_the_oldest_frames_and_appends_the_newest(linear):
    start = torch.arange(3.0).view(1, 3, 1, 1, 1) + torch.zeros(1, 3, 4, 3, 1)
    model = linear(2.0, frames=2)
    list(rollout(model, start, GRID, 4))
    assert model.windows[1][0, :, 0, 0, 0].tolist() == [2.0, 4.0, 8.0]


def test_more_frames_per_call_than_the_window_holds_keep_the_last(linear):
    model = linear(2.0, frames=5)
    list(rollout(model, torch.ones(1, 2, 4, 3, 1), GRID, 6))
    assert model.windows[1][0, :, 0, 0, 0].tolist() == [16.0, 32.0]


def test_parameter_channels_are_carried_along(linear):
    start = torch.randn(2, 3, 4, 3, 3)
    start[..., 1:] = start[:, :1, ..., 1:]
    model = linear(0.5, frames=2)
    found = list(rollout(model, start, GRID, 5))
    assert found[0].shape == (2, 4, 3, 1)
    for window in model.windows:
        assert torch.equal(window[..., 1:], start[..., 1:])


def test_one_step_models_need_no_window(linear):
    found = list(rollout(linear(0.5), torch.ones(2, 4, 3, 1), GRID, 3))
    assert [float(frame.mean()) for frame in found] == [0.5, 0.25, 0.125]


def test_gradients_flow_only_when_asked_for(linear):
    model = linear(0.5).double()
    start = torch.ones(1, 2, 4, 3, 1, dtype=torch.float64)
    assert not any(frame.requires_grad for frame in rollout(model, start, GRID, 3))
    *_, last = rollout(model, start, GRID, 3, gradients=True)
    (slope,) = torch.autograd.grad(last.mean(), model.factor)
    assert float(slope) == pytest.approx(3 * 0.5**2)


def test_gradient_mode_of_the_caller_is_untouched_between_frames(linear):
    for _ in rollout(linear(), torch.ones(1, 2, 4, 3, 1), GRID, 2):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("inputs", "steps", "message"),
    [
        (torch.ones(1, 2, 4, 3, 1, 1), 2, "have 4 dimensions, or 5 with time, not 6"),
        (torch.ones(1, 2, 4, 3, 1), 0, "at least one step"),
    ],
)
def test_bad_requests_are_refused(linear, inputs, steps, message):
    with pytest.raises(ValueError, match=message):
        list(rollout(linear(), inputs, GRID, steps))


def test_models_that_cannot_feed_themselves_are_refused():
    def wide(u, coordinates):
        return u.repeat(1, 1, 1, 1, 2)

    def coarse(u, coordinates):
        return u[:, :, ::2]

    for model, message in ((wide, "predicts 2 channels from 1"), (coarse, "on the grid")):
        with pytest.raises(ValueError, match=message):
            next(rollout(model, torch.ones(1, 2, 4, 3, 1), GRID, 1))
