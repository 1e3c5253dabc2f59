"""Losses on forecasts equal their formulas, written out in loops, and the published numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from surform.hub.official.fixture import Fixture
from surform.registry import find
from surform.training.losses import MeanAbsoluteError, SignalDecay
from surform.training.prediction import Prediction

CASE = Path(__file__).parents[1] / "golden/card/loss_and_schedule.json"


def draw(*shape: int) -> Prediction:
    torch.manual_seed(0)
    return Prediction(
        torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)
    )


def test_mean_absolute_error() -> None:
    p = draw(2, 3, 4)
    terms = [abs(a - b) for a, b in zip(p.output.flatten(), p.target.flatten(), strict=True)]
    torch.testing.assert_close(MeanAbsoluteError()(p), torch.stack(terms).mean())


def test_signal_decay_divides_by_the_root_of_the_step() -> None:
    p = draw(2, 5, 3)
    total = sum(
        abs(p.output[b, t, v] - p.target[b, t, v]) / math.sqrt(t + 1)
        for b in range(2)
        for t in range(5)
        for v in range(3)
    )
    torch.testing.assert_close(SignalDecay()(p), total / 30)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_signal_decay_is_the_published_loss(dtype: torch.dtype, tolerance: float) -> None:
    fixture = Fixture.load(CASE)
    inputs = fixture.inputs(dtype)
    loss = SignalDecay()(Prediction(inputs["pred"], inputs["target"]))
    loss.backward()
    expected = fixture.named("out")["loss"].to(dtype)
    torch.testing.assert_close(loss.reshape(1), expected, rtol=tolerance, atol=0)
    gradient = fixture.named("grad")["in/pred"].to(dtype)
    torch.testing.assert_close(inputs["pred"].grad, gradient, rtol=tolerance, atol=1e-14)


@pytest.mark.parametrize("name", ["mae", "signal_decay"])
def test_weights_mask_steps_and_half_precision_is_summed_in_float32(name: str) -> None:
    loss = find("losses", name)()
    p = draw(2, 4, 3)
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0]).view(4, 1)
    spoilt = p.output.clone()
    spoilt[:, 1] += 7
    assert torch.equal(
        loss(Prediction(spoilt, p.target, weight)), loss(Prediction(p.output, p.target, weight))
    )
    half = Prediction(torch.full((1, 4096, 1), 300.0).half(), torch.zeros(1, 4096, 1).half())
    assert loss(half).dtype == torch.float32
    assert torch.isfinite(loss(half))


def test_signal_decay_wants_a_time_axis() -> None:
    with pytest.raises(ValueError, match=r"needs forecasts \(B, H, \.\.\.\)"):
        SignalDecay()(Prediction(torch.zeros(3), torch.zeros(3)))
