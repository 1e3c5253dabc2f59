"""Rolling-origin evaluation of a forecaster beside simple ones, fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.series_module import SeriesData
from surform.forecasting.contestants import batches_of
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.rolling import Fold
from surform.forecasting.scores import ForecastScores, seasonal_scale
from surform.uncertainty import Conformal
from surform.uncertainty.conformal import LEVELS
from surform.uncertainty.residuals import windows_needed

__all__ = ["Backtest", "Example", "FoldResult", "run_backtest"]

# The contestants of a fold: name -> forecaster, fitted on the fold's training rows.
Contestants = Callable[[Fold, SeriesData], Mapping[str, Forecaster]]


@dataclass
class Example:
    """The first forecast of a fold, physical: what a report draws."""

    title: str
    history: np.ndarray
    truth: np.ndarray
    forecast: np.ndarray
    lower: np.ndarray | None
    upper: np.ndarray | None


@dataclass
class FoldResult:
    """Scores of every contestant on one fold."""

    fold: Fold
    first: str
    last: str
    windows: int
    validation_windows: int
    scores: dict[str, ForecastScores]
    example: Example


@dataclass
class Backtest:
    """All folds."""

    folds: list[FoldResult] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """A row per fold and contestant, then a row per contestant over all windows."""
        rows = []
        for result in self.folds:
            place = {"fold": result.fold.number, "from": result.first, "to": result.last}
            for name, scores in result.scores.items():
                rows.append(place | {"model": name, "windows": scores.windows} | scores.means())
        for name, scores in self.pooled().items():
            place = {"fold": "all", "from": self.folds[0].first, "to": self.folds[-1].last}
            rows.append(place | {"model": name, "windows": scores.windows} | scores.means())
        return rows

    def without_intervals(self) -> str:
        """Which folds have no intervals and why, as a sentence; "" where all have them."""
        needed = windows_needed(LEVELS)
        short = [fold for fold in self.folds if fold.validation_windows < needed]
        if not short:
            return ""
        which = "There are" if len(short) == len(self.folds) else "Some folds have"
        fewest = min(fold.validation_windows for fold in short)
        return (
            f"{which} no intervals: {fewest} validation windows are too few, they need {needed} "
            "(a longer validation split, or a shorter horizon)."
        )

    def pooled(self) -> dict[str, ForecastScores]:
        """The scores of all folds together, every window alike; contestants of all folds only."""
        found: dict[str, ForecastScores] = {}
        everywhere = [n for n in self.folds[0].scores if all(n in f.scores for f in self.folds)]
        for name in everywhere:
            parts = [result.scores[name] for result in self.folds]
            figures = set.intersection(*(set(part.sums) for part in parts))
            # in the order of the first fold
            sums = {
                n: torch.stack([part.sums[n] for part in parts]).sum(0)
                for n in parts[0].sums
                if n in figures
            }
            windows = sum(part.windows for part in parts)
            levels = parts[0].levels if "crps" in figures else ()
            found[name] = ForecastScores(parts[0].std, parts[0].scale, levels, windows, sums)
        return found


def run_backtest(
    folds: Sequence[Fold],
    open_data: Callable[[Fold], SeriesData],
    contestants: Contestants,
    *,
    season: int,
    stride: int = 1,
    batch_size: int = 256,
    progress: Callable[[float], None] = lambda share: None,
) -> Backtest:
    """Evaluate every contestant on every fold.

    Errors are standardised with the deviations of the first fold's training rows, so that folds
    can be compared. Quantiles are conformal, calibrated on the fold's validation windows, which
    lie right before its origin; a contestant goes without where those are too few.

    Args:
        open_data: the data of a fold, set up.
        contestants: fitted forecasters of a fold; the first one is shown in examples.
        season: steps per season, of MASE.
        stride: steps between two test windows.
    """
    backtest, std = Backtest(), None
    for place, fold in enumerate(folds):
        data = open_data(fold)
        columns = list(data.description().target_columns)
        if std is None:
            std = data.normalizers()[0].std.expand(len(data.description().variates))[columns]
        scale = _mase_scale(data, season)
        windows = data.windows("test")
        entered = contestants(fold, data)
        scores = {}
        example = None
        for number, (name, model) in enumerate(entered.items()):
            model.eval()
            quantiles = _calibrated(model, data, batch_size)
            scores[name] = ForecastScores(std, scale, LEVELS if quantiles else ())
            with torch.inference_mode():
                for batch in batches_of(windows, batch_size, stride):
                    output = model.outputs(batch)
                    spread = quantiles.quantiles(batch) if quantiles else None
                    scores[name].add(output, batch.targets, spread)
                    if example is None:
                        example = _example(windows.labels([0]), batch, output, spread, columns)
            progress((place + (number + 1) / len(entered)) / len(folds))
        assert example is not None
        first, last = _period(windows)
        count = len(range(0, len(windows), stride))
        held = len(data.windows("validation"))
        backtest.folds.append(FoldResult(fold, first, last, count, held, scores, example))
    return backtest


def _calibrated(model: Forecaster, data: SeriesData, batch_size: int) -> Conformal | None:
    """The model with conformal quantiles; None where validation windows are too few for them."""
    windows = data.windows("validation")
    if len(windows) < windows_needed(LEVELS):
        return None
    quantiles = Conformal(model)
    quantiles.eval()  # calibrate goes back to the mode that it found
    return quantiles.calibrate(batches_of(windows, batch_size))


def _mase_scale(data: SeriesData, season: int) -> Tensor:
    """The `seasonal_scale` of the targets, over the training rows of all series."""
    table, about = data.table, data.description()
    spans = [
        (span.start + first, span.start + end)
        for span, rows in zip(table.spans, data.split_rows(), strict=True)
        for first, end in [rows["train"]]
    ]
    columns = list(about.target_columns)
    values = [torch.from_numpy(table.values[first:end, columns]) for first, end in spans]
    return seasonal_scale(values, season, about.targets)


def _period(windows: Any) -> tuple[str, str]:
    """The times (or steps) of the first and the last target."""
    ends = windows.future_times([0, len(windows) - 1])
    return _moment(ends[0, 0]), _moment(ends[-1, -1])


def _moment(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[m]")).replace("T", " ")
    return f"{value:g}"


def _example(
    labels: Mapping[str, Any],
    batch: Any,
    output: Tensor,
    quantiles: Tensor | None,
    columns: list[int],
) -> Example:
    last = labels.get("last_time")
    title = f"after {_moment(last[0])}" if last is not None else f"from row {labels['start'][0]}"
    low, high = LEVELS.index(0.05), LEVELS.index(0.95)
    return Example(
        title=f"{labels['series'][0]} {title}".strip(),
        history=batch.history[0][:, columns].float().numpy(),
        truth=batch.targets[0].float().numpy(),
        forecast=output[0].float().cpu().numpy(),
        lower=None if quantiles is None else quantiles[low, 0].float().cpu().numpy(),
        upper=None if quantiles is None else quantiles[high, 0].float().cpu().numpy(),
    )
