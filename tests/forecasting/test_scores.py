"""Forecast figures by hand."""

from __future__ import annotations

import math

import pytest
import torch

from surform.forecasting.scores import FIGURES, ForecastScores


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


def test_every_series_is_measured_by_its_own_scale():
    torch.manual_seed(0)
    output, target = torch.randn(2, 6, 3, 2).unbind()
    series = torch.tensor([0, 1, 1, 0, 2, 1])
    std = torch.tensor([[1.0, 2.0], [10.0, 20.0], [3.0, 3.0]])
    scale = torch.tensor([[0.5, 1.0], [5.0, math.nan], [math.nan, math.nan]])
    scores = ForecastScores(std, scale)
    scores.add(output[:4], target[:4], series=series[:4])
    scores.add(output[4:], target[4:], series=series[4:])
    error = (output - target).double()
    scaled = error.abs() / scale[series][:, None]
    squared = (error / std[series][:, None]).square()
    means = scores.means()
    assert means["mse"] == pytest.approx(squared.mean().item())
    assert means["mase"] == pytest.approx(scaled.nanmean().item())
    assert scores.series_windows() == [2, 3, 1]
    found = scores.by_series()
    for number, figures in enumerate(found):
        own = series == number
        assert figures["mse"] == pytest.approx(squared[own].mean().item())
        assert ("mase" in figures) == (number < 2)
        if number < 2:
            assert figures["mase"] == pytest.approx(scaled[own].nanmean().item())
    assert scores.by_target()["mase"][1] == pytest.approx(scaled[..., 1].nanmean().item())


def test_a_forecast_that_is_no_number_is_not_left_out():
    scores = ForecastScores(torch.ones(1), torch.ones(1))
    scores.add(torch.full((1, 2, 1), math.nan), torch.zeros(1, 2, 1))
    assert all(math.isnan(scores.means()[name]) for name in ("mse", "mae", "mase"))


def test_joined_scores_weigh_every_window_alike():
    parts = []
    for seed, count in ((0, 2), (1, 5)):
        torch.manual_seed(seed)
        part = ForecastScores(torch.ones(1), torch.ones(1), (0.5,) if seed else ())
        values = torch.randn(2, count, 3, 1)
        part.add(*values, quantiles=values[:1] if seed else None)
        parts.append(part)
    found = ForecastScores.joined(parts)
    assert found.windows == 7
    expected = (2 * parts[0].means()["mse"] + 5 * parts[1].means()["mse"]) / 7
    assert found.means()["mse"] == pytest.approx(expected)
    assert "crps" not in found.means()
    assert found.levels == ()
    assert ForecastScores.joined(parts[1:]).means() == parts[1].means()


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
