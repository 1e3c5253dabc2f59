"""Forecast figures by hand."""

from __future__ import annotations

import math

import pytest
import torch

from surform.forecasting.scores import FIGURES, ForecastScores, seasonal_scale


def test_figures_are_means_over_all_windows_of_uneven_batches():
    torch.manual_seed(0)
    output, target = torch.randn(2, 7, 3, 2).unbind()
    std, scale = torch.tensor([2.0, 0.5]), torch.tensor([1.0, 4.0])
    scores = ForecastScores(std, scale)
    for part in (slice(0, 4), slice(4, 7)):
        scores.add(output[part], target[part])
    error = (output - target).double()
    means = scores.means()
    assert means["mse"] == pytest.approx((error / std).square().mean().item())
    assert means["mae"] == pytest.approx((error / std).abs().mean().item())
    assert means["mase"] == pytest.approx((error.abs() / scale).mean().item())
    assert scores.by_step()["mse"][1] == pytest.approx((error / std).square()[:, 1].mean().item())
    assert scores.by_target()["mae"][1] == pytest.approx((error / std).abs()[..., 1].mean().item())


def test_quantile_figures():
    levels = (0.05, 0.1, 0.5, 0.9, 0.95)
    quantiles = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(5, 1, 1, 1).expand(5, 4, 1, 1)
    target = torch.tensor([0.0, 1.5, -1.5, 3.0]).view(4, 1, 1)
    scores = ForecastScores(torch.ones(1), torch.ones(1), levels)
    scores.add(torch.zeros_like(target), target, quantiles)
    means = scores.means()
    assert means["coverage_80"] == 0.25
    assert means["coverage_90"] == 0.75
    assert means["width_90"] == 4
    assert means["interval_score_90"] == pytest.approx(4 + 20 * 1 / 4)
    assert set(means) <= set(FIGURES)
    assert dict(scores.calibration()) == {0.05: 0.0, 0.1: 0.25, 0.5: 0.5, 0.9: 0.5, 0.95: 0.75}


def test_the_scale_of_mase_is_the_error_of_the_seasonal_naive_forecast():
    rows = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    expected = torch.tensor([1.0, 1.0]).double()
    torch.testing.assert_close(seasonal_scale([rows], 2), expected)
    with pytest.raises(ValueError, match="no two values of b that are a season of 4"):
        seasonal_scale([rows], 4, ["b", "c"])


def test_the_scale_of_mase_leaves_out_pairs_with_a_gap_and_series_that_are_short():
    rows = torch.tensor([[0.0], [1.0], [math.nan], [3.0], [5.0]])
    short = torch.tensor([[7.0]])
    found = seasonal_scale([rows, short, rows + 1], 1)
    torch.testing.assert_close(found, torch.tensor([1.5]).double())
    with pytest.raises(ValueError, match="no two values of variate 0"):
        seasonal_scale([rows[:4]], 2 + 2)


@pytest.mark.fault
def test_no_windows_is_an_error():
    with pytest.raises(ValueError, match="no windows"):
        ForecastScores(torch.ones(1), torch.ones(1)).means()


@pytest.mark.fault
def test_a_forecast_of_another_shape_is_not_broadcast():
    scores = ForecastScores(torch.ones(1), torch.ones(1))
    with pytest.raises(ValueError, match=r"\(2, 3, 4\), the targets \(2, 3, 1\)"):
        scores.add(torch.zeros(2, 3, 4), torch.zeros(2, 3, 1))
    assert scores.windows == 0
