"""Rolling-origin evaluation of a forecaster beside simple ones, fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.series_batch import SeriesBatch
from surform.data.series_module import SeriesData
from surform.data.series_statistics import column_statistics
from surform.data.series_windows import SeriesWindows
from surform.forecasting.contestants import batches_of
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.rolling import Fold
from surform.forecasting.scores import ForecastScores
from surform.uncertainty import Conformal
from surform.uncertainty.conformal import LEVELS
from surform.uncertainty.residuals import windows_needed

__all__ = ["Backtest", "Example", "FoldResult", "Forecasts", "run_backtest"]

# The contestants of a fold: name -> forecaster, fitted on the fold's training rows.
Contestants = Callable[[Fold, SeriesData], Mapping[str, Forecaster]]


@dataclass(frozen=True)
class Forecasts:
    """What a contestant of a fold made of a batch of windows, physical.

    Args:
        windows: the data set that the batch is from.
        output: `(B, H, V)`.
        quantiles: `(levels, B, H, V)`; None without.
    """

    fold: int
    model: str
    windows: SeriesWindows
    batch: SeriesBatch
    output: Tensor
    quantiles: Tensor | None
    levels: Sequence[float]


Keep = Callable[[Forecasts], None]


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
    """All folds.

    Args:
        series: names of those of the table, () where it holds one only.
        levels: of the quantiles, the same for all contestants.
    """

    series: tuple[str, ...] = ()
    levels: Sequence[float] = LEVELS
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

    def series_table(self) -> list[dict[str, Any]]:
        """A row per series and contestant over the windows of all folds; [] for one series."""
        if not self.series:
            return []
        found = {
            name: list(zip(scores.series_windows(), scores.by_series(), strict=True))
            for name, scores in self.pooled().items()
        }
        return [
            {"series": series, "model": name, "windows": rows[place][0]} | rows[place][1]
            for place, series in enumerate(self.series)
            for name, rows in found.items()
        ]

    def without_windows(self) -> list[str]:
        """The series that no fold forecasts."""
        own = next(iter(self.pooled().values()))
        pairs = zip(self.series, own.series_windows(), strict=False)
        return [series for series, windows in pairs if not windows]

    def without_intervals(self) -> str:
        """Which folds have no conformal intervals and why, in a sentence; "" where all have."""
        needed = windows_needed(self.levels)
        short = [fold for fold in self.folds if fold.validation_windows < needed]
        if not short:
            return ""
        which = "There are" if len(short) == len(self.folds) else "Some folds have"
        fewest = min(fold.validation_windows for fold in short)
        return (
            f"{which} no conformal intervals: {fewest} validation windows are too few, they need "
            f"{needed} (a longer validation split, or a shorter horizon)."
        )

    def pooled(self) -> dict[str, ForecastScores]:
        """The scores of all folds together, every window alike; contestants of all folds only."""
        return {
            name: ForecastScores.joined([result.scores[name] for result in self.folds])
            for name in self.folds[0].scores
            if all(name in result.scores for result in self.folds)
        }


def run_backtest(
    folds: Sequence[Fold],
    open_data: Callable[[Fold], SeriesData],
    contestants: Contestants,
    *,
    season: int,
    stride: int = 1,
    batch_size: int = 256,
    progress: Callable[[float], None] = lambda share: None,
    keep: Keep = lambda forecasts: None,
) -> Backtest:
    """Evaluate every contestant on every fold.

    Errors are standardised with the deviations of the first fold's training rows, so that folds
    can be compared; where a table holds several series, with those of each series, so that small
    and large ones count alike. MASE has each series' own denominator. A contestant that knows
    quantiles is scored on them; others get conformal ones at the same levels, as CRPS depends on
    them, calibrated on the fold's validation windows, which lie right before its origin, and go
    without where those are too few.

    Args:
        open_data: the data of a fold, set up.
        contestants: fitted forecasters of a fold; the first one is shown in examples.
        season: steps per season, of MASE.
        stride: steps between two test windows.
        keep: takes the forecasts of every batch.
    """
    backtest, std = Backtest(), None
    for place, fold in enumerate(folds):
        data = open_data(fold)
        columns = list(data.description().target_columns)
        if std is None:
            std = _deviations(data)
            spans = data.table.spans
            backtest.series = tuple(span.id for span in spans) if len(spans) > 1 else ()
        scale = _mase_scale(data, season)
        windows = data.windows("test")
        entered = contestants(fold, data)
        backtest.levels = next((m.levels for m in entered.values() if m.levels), LEVELS)
        scores = {}
        example = None
        for number, (name, model) in enumerate(entered.items()):
            model.eval()
            sure = _with_quantiles(model, data, backtest.levels, batch_size)
            levels = () if sure is None else sure.levels
            scores[name] = ForecastScores(std, scale, levels)
            with torch.inference_mode():
                for batch in batches_of(windows, batch_size, stride):
                    output = model.outputs(batch)
                    spread = None if sure is None else sure.quantiles(batch)
                    series = torch.from_numpy(windows.series(batch.index))
                    scores[name].add(output, batch.targets, spread, series)
                    keep(Forecasts(fold.number, name, windows, batch, output, spread, levels))
                    if example is None:
                        bounds = _bounds(spread, levels)
                        example = _example(windows.labels([0]), batch, output, bounds, columns)
            progress((place + (number + 1) / len(entered)) / len(folds))
        assert example is not None
        first, last = _period(windows)
        count = len(range(0, len(windows), stride))
        held = len(data.windows("validation"))
        backtest.folds.append(FoldResult(fold, first, last, count, held, scores, example))
    return backtest


def _with_quantiles(
    model: Forecaster, data: SeriesData, levels: Sequence[float], batch_size: int
) -> Any:
    """The model with quantiles, its own or conformal ones; None where windows are too few."""
    if model.levels:
        return model
    windows = data.windows("validation")
    if len(windows) < windows_needed(levels):
        return None
    quantiles = Conformal(model, levels)
    quantiles.eval()  # calibrate goes back to the mode that it found
    return quantiles.calibrate(batches_of(windows, batch_size))


def _deviations(data: SeriesData) -> Tensor:
    """`(series, V_out)`: what errors are divided by.

    Of each series on its training rows, or what is known before it is tested where it has none; of
    all together where it has not changed yet, or there is one series only.
    """
    table, about = data.table, data.description()
    columns = list(about.target_columns)
    common = data.normalizers()[0].std.expand(len(about.variates))[columns]
    common = common.expand(len(table.spans), -1)
    if data.normalize == "none" or (data.normalize == "train" and len(table.spans) == 1):
        return common
    found = [column_statistics(table.values, [rows]) for rows in data.known_rows()]
    own = torch.from_numpy(np.stack([std for _, std in found])[:, columns]).to(common)
    return torch.where(torch.from_numpy(data.changes() > 0), own, common)


def _mase_scale(data: SeriesData, season: int) -> Tensor:
    """`(series, V_out)`: mean |y_t - y_(t - season)| over the `known_rows` of each series.

    NaN where it has no such pair of values, or never changes.

    Raises:
        ValueError: a target has no two values a season apart in any series.
    """
    changes = data.changes(season)
    lacking = np.isnan(changes).all(0)
    if lacking.any():
        name = data.description().targets[int(np.argmax(lacking))]
        longest = max(end - first for first, end in data.known_rows())
        raise ValueError(
            f"the training rows, {longest} of a series at most, hold no two values of {name} that "
            f"are a season of {season} steps apart: give a shorter --season"
        )
    return torch.from_numpy(np.where(changes > 0, changes, np.nan))


def _period(windows: SeriesWindows) -> tuple[str, str]:
    """The times (or steps) of the first and the last target."""
    found = windows.period()
    if found is None:
        ends = windows.future_times([0, len(windows) - 1])
        found = (ends[0, 0], ends[-1, -1])
    return _moment(found[0]), _moment(found[1])


def _moment(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[m]")).replace("T", " ")
    return f"{value:g}"


def _example(
    labels: Mapping[str, Any],
    batch: Any,
    output: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    columns: list[int],
) -> Example:
    last = labels.get("last_time")
    title = f"after {_moment(last[0])}" if last is not None else f"from row {labels['start'][0]}"
    lower, upper = (None, None) if bounds is None else bounds
    return Example(
        title=f"{labels['series'][0]} {title}".strip(),
        history=batch.history[0][:, columns].float().numpy(),
        truth=batch.targets[0].float().numpy(),
        forecast=output[0].float().cpu().numpy(),
        lower=None if lower is None else lower[0].float().cpu().numpy(),
        upper=None if upper is None else upper[0].float().cpu().numpy(),
    )


def _bounds(quantiles: Tensor | None, levels: Sequence[float]) -> tuple[Tensor, Tensor] | None:
    """Of the 90 % interval, where it is known."""
    if quantiles is None or not {0.05, 0.95} <= set(levels):
        return None
    return quantiles[levels.index(0.05)], quantiles[levels.index(0.95)]
