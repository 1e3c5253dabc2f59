"""Losses equal the papers' formulas, written out once more in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surform.data.batches import FieldBatch
from surform.training.losses import (
    MeanSquaredError,
    RelativeL2,
    RelativeL2H1,
    ScalarVelocityL2,
)
from surform.training.prediction import Prediction


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Prediction:
    torch.manual_seed(0)
    return Prediction(torch.randn(*shape, dtype=dtype), torch.randn(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relative_l2_is_joint_over_time_space_and_channels(dtype: torch.dtype) -> None:
    p = draw(3, 4, 5, 6, 2, dtype=dtype)
    norms = [(o - t).norm() / t.norm() for o, t in zip(p.output, p.target, strict=True)]
    torch.testing.assert_close(RelativeL2()(p), sum(norms) / 3)


def test_relative_l2_of_separate_channels_averages_their_norms() -> None:
    p = draw(2, 7, 3)
    norms = [
        (p.output[b, :, c] - p.target[b, :, c]).norm() / p.target[b, :, c].norm()
        for b in range(2)
        for c in range(3)
    ]
    torch.testing.assert_close(RelativeL2(channels="separate")(p), sum(norms) / 6)


def test_floor_bounds_the_denominator_from_below() -> None:
    p = Prediction(torch.full((1, 4, 1), 1e-3), torch.zeros(1, 4, 1))
    assert RelativeL2("floor")(p).item() == pytest.approx(math.sqrt(4e-6 / 1e-5))


def test_epsilon_form_adds_to_the_mean() -> None:
    p = Prediction(torch.full((1, 4, 1), 1e-3), torch.full((1, 4, 1), 2e-5))
    expected = math.sqrt((1e-3 - 2e-5) ** 2 / (4e-10 + 1e-10))
    assert RelativeL2("epsilon")(p).item() == pytest.approx(expected, rel=1e-5)


def test_weights_multiply_squared_terms() -> None:
    p = draw(2, 5, 1)
    weight = torch.rand(5, 1, dtype=torch.float64)
    weighted = Prediction(p.output, p.target, weight)
    error = ((p.output - p.target) ** 2 * weight).sum((1, 2))
    size = (p.target**2 * weight).sum((1, 2))
    torch.testing.assert_close(RelativeL2()(weighted), (error / size).sqrt().mean())


@pytest.mark.parametrize("loss", [RelativeL2(), RelativeL2("epsilon"), ScalarVelocityL2()])
def test_perfect_predictions_have_zero_loss_and_gradient(loss: torch.nn.Module) -> None:
    target = torch.randn(2, 5, 3)
    output = target.clone().requires_grad_()
    value = loss(Prediction(output, target), None)
    value.backward()
    assert value.item() == 0
    assert torch.equal(output.grad, torch.zeros_like(output))


def test_half_precision_is_summed_in_float32() -> None:
    p = Prediction(torch.full((1, 4096, 1), 300.0).half(), torch.full((1, 4096, 1), 200.0).half())
    assert RelativeL2()(p).item() == pytest.approx(0.5)


def test_scalar_and_velocity_terms_add() -> None:
    p = draw(2, 4, 3, 3, 4)
    scalar = RelativeL2()(p.channels(0, 1))
    velocity = sum(RelativeL2()(p.channels(c, c + 1)) for c in (1, 2, 3)) / 3
    torch.testing.assert_close(ScalarVelocityL2()(p, None), scalar + velocity)
    flipped = Prediction(p.output.roll(-1, -1), p.target.roll(-1, -1))
    torch.testing.assert_close(ScalarVelocityL2(scalars_last=True)(flipped), scalar + velocity)


def line(points: int, derivative: Tensor | None = None) -> tuple[Prediction, FieldBatch]:
    p = draw(2, points, 1)
    x = torch.arange(points, dtype=torch.float64) / points
    auxiliary = {} if derivative is None else {"du_dx": derivative}
    return p, FieldBatch(p.target, p.target, (x,), auxiliary)


def test_h1_loss_on_a_line() -> None:
    n, gamma = 16, 0.1
    slope = torch.randn(2, n, dtype=torch.float64)
    p, batch = line(n, slope)
    h, total = 1 / n, 0.0
    for b in range(2):
        u, v = p.output[b, :, 0], p.target[b, :, 0]
        total += ((u - v).square().sum() / v.square().sum()).sqrt()
        error = sum((slope[b, i] - (u[i + 1] - u[i - 1]) / (2 * h)) ** 2 for i in range(1, n - 1))
        total += (gamma * h * h * error / (h * slope[b].square().sum())).sqrt()
    torch.testing.assert_close(RelativeL2H1(gamma)(p, batch), total / 2)


def test_h1_loss_on_a_square_with_coefficient() -> None:
    n, gamma = 9, 0.5
    p = draw(2, n, n, 1)
    a = torch.rand(2, n, n, 1, dtype=torch.float64) + 1
    slopes = torch.randn(2, n, n, 2, dtype=torch.float64)
    x = torch.linspace(0, 1, n, dtype=torch.float64)
    batch = FieldBatch(a, p.target, (x, x), {"du_dx": slopes[..., 0], "du_dy": slopes[..., 1]})
    h, total, inside = 1 / n, 0.0, slice(1, -1)
    for b in range(2):
        u, v = p.output[b, ..., 0], p.target[b, ..., 0]
        total += ((u - v).square().mean() / (v.square().mean() + 1e-10)).sqrt()
        dx = (u[2:, inside] - u[:-2, inside]) / (2 * h)
        dy = (u[inside, 2:] - u[inside, :-2]) / (2 * h)
        exact, weight = slopes[b, inside, inside], a[b, inside, inside]
        error = (weight * (exact - torch.stack([dx, dy], -1))).square().mean()
        size = 2 * (weight * exact.square()).mean() + 1e-10
        total += (gamma * h * error / size).sqrt()
    torch.testing.assert_close(RelativeL2H1(gamma, coefficient=0)(p, batch), total / 2)


def test_h1_loss_differentiates_the_target_where_no_derivative_is_given() -> None:
    x = torch.arange(64, dtype=torch.float64) / 64
    wave = torch.sin(2 * math.pi * x).expand(2, -1)[..., None]
    batch = FieldBatch(wave, wave, (x,))
    assert RelativeL2H1()(Prediction(wave, wave), batch).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativeL2("none-such"), "unknown guard"),
        (lambda: RelativeL2(channels="all"), "channels must be"),
        (lambda: RelativeL2H1(-1.0), "gamma must not be negative"),
        (lambda: ScalarVelocityL2(0), "scalars must be at least 1"),
        (lambda: ScalarVelocityL2(2)(draw(1, 4, 2)), "needs velocity channels"),
        (lambda: RelativeL2H1()(draw(1, 8, 8, 8, 1), _cube()), "one or two axes"),
        (lambda: Prediction(torch.zeros(2, 3), torch.zeros(2, 4)), "has the shape"),
    ],
)
def test_impossible_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _cube() -> FieldBatch:
    x = torch.linspace(0, 1, 8)
    return FieldBatch(torch.zeros(1, 8, 8, 8, 1), torch.zeros(1, 8, 8, 8, 1), (x, x, x))


def test_mean_squared_error() -> None:
    p = draw(3, 4, 2)
    torch.testing.assert_close(MeanSquaredError()(p), (p.output - p.target).square().mean())
