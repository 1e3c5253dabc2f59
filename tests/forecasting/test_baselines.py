"""Naive, seasonal, ridge and DLinear forecasts against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.data.series_step import Step
from surform.forecasting.baselines import Naive, Ridge, season_of
from surform.forecasting.dlinear import DLinear, moving_average


def test_naive_repeats_the_last_value_and_the_last_season():
    history = torch.arange(12.0).view(1, 6, 2)
    assert Naive(lookback=6, horizon=3)(history)[0, :, 0].tolist() == [10, 10, 10]
    found = Naive(lookback=6, horizon=5, season=2)(history)[0, :, 1]
    assert found.tolist() == [9, 11, 9, 11, 9]


def test_ridge_finds_a_linear_recurrence_and_agrees_with_plain_least_squares():
    torch.manual_seed(0)
    history = torch.randn(200, 5, 3)
    true = torch.randn(2, 5)
    last = history[:, -1:]
    targets = (last.transpose(1, 2) + (history - last).transpose(1, 2) @ true.T).transpose(1, 2)
    targets = targets + 0.4
    model = Ridge(lookback=5, horizon=2, penalty=1e-9).fit(
        zip(history.split(64), targets.split(64), strict=True)
    )
    # the last column multiplies zero, so it is free
    torch.testing.assert_close(model.weight[:, :-1], true[:, :-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(model(history), targets, atol=1e-4, rtol=0)


def test_ridge_solves_the_penalised_problem():
    torch.manual_seed(1)
    history, targets = torch.randn(50, 4, 1).double(), torch.randn(50, 2, 1).double()
    model = Ridge(lookback=4, horizon=2, penalty=0.3).double().fit([(history, targets)])
    x = (history - history[:, -1:])[..., 0].numpy()
    y = (targets - history[:, -1:])[..., 0].numpy()
    x0, y0 = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.solve(x0.T @ x0 + 0.3 * 50 * np.eye(4), x0.T @ y0)
    np.testing.assert_allclose(model.weight.T, expected, atol=1e-10)


def test_the_moving_average_repeats_the_ends():
    series = torch.tensor([1.0, 2.0, 4.0, 8.0])
    expected = [4 / 3, 7 / 3, 14 / 3, 20 / 3]
    np.testing.assert_allclose(moving_average(series[None], 3)[0], expected, rtol=1e-6)
    assert moving_average(torch.ones(2, 5), 4).eq(1).all()


def test_dlinear_is_two_linear_maps():
    torch.manual_seed(0)
    net = DLinear(lookback=8, horizon=3, kernel_size=3)
    history = torch.randn(2, 8, 4)
    trend = moving_average(history.transpose(1, 2), 3)
    expected = net.trend(trend) + net.remainder(history.transpose(1, 2) - trend)
    torch.testing.assert_close(net(history), expected.transpose(1, 2))
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(history), net(history))


@pytest.mark.parametrize(
    ("step", "season"),
    [
        ("1h", 24), ("2h", 12), ("7h", 1), ("15min", 96), ("5min", 288), ("1min", 60), ("30s", 120),
        ("10s", 6), ("1s", 60), ("1ms", 1), ("1D", 7), ("2D", 1), ("7D", 52), ("14D", 26), ("B", 5),
        ("MS", 12), ("ME", 12), ("2MS", 6), ("QE", 4), ("YS", 1), ("", 1),
    ],
)  # fmt: skip
def test_seasons_follow_the_time_step(step, season):
    assert season_of(step) == season


def test_every_step_that_a_table_may_have_has_a_season():
    for text in ("W", "H", "T", "60min", "24h", "168h", "5QS"):
        assert season_of(Step.parse(text).text) == season_of(text) >= 1


@pytest.mark.fault
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="holds no season"):
        Naive(lookback=3, horizon=1, season=4)
    with pytest.raises(ValueError, match="penalty is 0"):
        Ridge(lookback=3, horizon=1, penalty=0)
    with pytest.raises(ValueError, match="no windows"):
        Ridge(lookback=3, horizon=1).fit([])
    with pytest.raises(ValueError, match="kernel_size is 0"):
        DLinear(lookback=3, horizon=1, kernel_size=0)
