"""Simple forecasters, fitted and wrapped like any other, to stand beside a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from surform.data.series_batch import SeriesBatch
from surform.data.series_module import SeriesData
from surform.data.series_windows import SeriesWindows
from surform.forecasting.baselines import Naive, Ridge
from surform.forecasting.forecaster import Forecaster

__all__ = ["batches_of", "closed_form_baselines"]

_PENALTIES = (1e-4, 1e-2, 1.0)


def closed_form_baselines(data: SeriesData, season: int) -> dict[str, Forecaster]:
    """Naive, seasonal naive (where a season fits into the look-back) and ridge, by name."""
    lookback, horizon = data.lookback, data.horizon
    found = {"naive": _wrapped(Naive(lookback=lookback, horizon=horizon), data)}
    if 1 < season <= lookback:
        seasonal = Naive(lookback=lookback, horizon=horizon, season=season)
        found["seasonal naive"] = _wrapped(seasonal, data)
    return found | {"ridge": _ridge(data)}


def batches_of(windows: SeriesWindows, size: int, stride: int = 1) -> Iterator[SeriesBatch]:
    """Every `stride`-th window, in batches of at most `size`."""
    chosen = list(range(0, len(windows), stride))
    for first in range(0, len(chosen), size):
        yield windows[chosen[first : first + size]]


def _wrapped(net: nn.Module, data: SeriesData) -> Forecaster:
    """The network with the data's statistics; covariates are left out."""
    model = Forecaster(net)
    about = replace(data.description(), marks=(), known=(), static=())
    model.fit_to(about, data.normalizers()[0])
    return model.eval()


def _ridge(data: SeriesData) -> Forecaster:
    """Ridge regression on every training window; the penalty is the best one on validation."""
    columns = list(data.description().target_columns)
    tried = []
    for penalty in _PENALTIES:
        net = Ridge(lookback=data.lookback, horizon=data.horizon, penalty=penalty)
        model = _wrapped(net, data)
        net.fit(
            (
                model.normalize_targets(batch.history[..., columns], batch.statistics),
                model.normalize_targets(batch.targets, batch.statistics),
            )
            for batch in batches_of(data.windows("train"), 1024)
        )
        tried.append((_squared_error(model, data), model))
    return min(tried, key=lambda pair: pair[0])[1]


def _squared_error(model: Forecaster, data: SeriesData) -> float:
    """Sum over the validation windows, standardised."""
    total = 0.0
    with torch.inference_mode():
        for batch in batches_of(data.windows("validation"), 1024):
            standard = [
                model.normalize_targets(x, batch.statistics)
                for x in (model.outputs(batch), batch.targets)
            ]
            total += float((standard[0] - standard[1]).double().square().sum())
    return total
