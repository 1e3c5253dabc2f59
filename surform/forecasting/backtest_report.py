"""The page that a backtest ends with: scores by fold, by step, calibration, example forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.series_description import SeriesDescription
from surform.forecasting.backtest import Backtest
from surform.forecasting.scores import FIGURES, ForecastScores
from surform.reports import Number, Page
from surform.reports.forecasts import forecast_panels
from surform.reports.look import CYCLE
from surform.reports.plots import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_backtest_report"]

_IDEAL = "ideal"
_PANELS = 3  # targets, and folds, drawn
_SERIES = 30  # rows of the table of series


def write_backtest_report(
    path: str | Path,
    backtest: Backtest,
    about: SeriesDescription,
    *,
    title: str,
    how: Mapping[str, Any],
) -> Path:
    """Write the page.

    Args:
        about: of the data.
        how: settings of the backtest, for the last table.
    """
    pooled = backtest.pooled()
    own, others = next(iter(pooled)), list(pooled)[1:]
    means = {name: scores.means() for name, scores in pooled.items()}
    several = bool(backtest.series)
    page = Page(title, f"Rolling-origin backtest: {_spans(backtest)}")
    best = min(others, key=lambda name: means[name]["mse"]) if others else None
    page.headline(_headline(means, own, best))
    weighed = "All folds together; every window, step and target counts alike"
    page.section("Scores", f"{weighed}{', so a series by its windows' * several}.")
    page.table([{"model": name} | figures for name, figures in means.items()])
    page.table({name: text for name, text in FIGURES.items() if name in means[own]})
    if backtest.without_intervals():
        page.section("Intervals", backtest.without_intervals())
    if len(backtest.folds) > 1:
        page.section("Folds").table(_by_fold(backtest), "MSE, standardised.")
    styles = _styles(pooled)
    page.section("Along the horizon", "Means over all windows and targets.")
    for name in _shown(means[own]):
        page.figure(_by_step(pooled, name, about, styles), FIGURES[name])
    if several:
        _add_series(page, backtest, own)
    page.section("By target", "Means over all windows and steps.")
    for name in _shown(means[own]):
        page.table(_by_target(pooled, name, about), FIGURES[name])
    if pooled[own].levels:
        page.section("Calibration").figure(
            _calibration(pooled, styles), "Share of values at or below a quantile, over its level."
        )
    page.section("Forecasts").figure(_examples(backtest, about), _caption(backtest))
    page.section("How it was made").table(dict(how))
    return page.write(path)


def _headline(means: Mapping[str, Mapping[str, float]], own: str, best: str | None) -> list[Number]:
    figures = means[own]
    numbers = [Number("MSE", figures["mse"], "standardised")]
    if best is not None:
        gain = 1 - figures["mse"] / means[best]["mse"]
        note = f"than {best}, the best baseline"
        word = "less error" if gain >= 0 else "more error"
        numbers.append(Number(word, f"{abs(gain):.1%}", note, good=gain > 0))
    if "mase" in figures:
        numbers.append(Number("MASE", figures["mase"], "1 = seasonal naive, in sample"))
    if "coverage_90" in figures:
        honest = abs(figures["coverage_90"] - 0.9) <= 0.05
        numbers.append(
            Number("coverage", f"{figures['coverage_90']:.1%}", "of 90 % intervals", good=honest)
        )
    return numbers


def _spans(backtest: Backtest) -> str:
    first, last = backtest.folds[0].first, backtest.folds[-1].last
    count = len(backtest.folds)
    return f"{count} fold{'s' * (count != 1)}, {first} to {last}"


def _by_fold(backtest: Backtest) -> list[dict[str, Any]]:
    return [
        {"fold": result.fold.number, "from": result.first[:10], "to": result.last[:10]}
        | {"windows": result.windows}
        | {name: scores.means()["mse"] for name, scores in result.scores.items()}
        for result in backtest.folds
    ]


def _shown(means: Mapping[str, float]) -> list[str]:
    return [name for name in ("mse", "crps", "coverage_90") if name in means]


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """One color per contestant, the same in every figure; what would be ideal is grey, dashed."""
    colors = {name: {"color": CYCLE[place % len(CYCLE)]} for place, name in enumerate(names)}
    return colors | {_IDEAL: {"color": "#8a8f98", "linestyle": "--"}}


def _by_step(
    pooled: Mapping[str, ForecastScores],
    figure: str,
    about: SeriesDescription,
    styles: Mapping[str, Mapping[str, Any]],
) -> Figure:
    steps = np.arange(1, about.horizon + 1)
    profiles = {name: scores.by_step() for name, scores in pooled.items()}
    values = {name: found[figure] for name, found in profiles.items() if figure in found}
    lines = {name: (steps, value) for name, value in values.items()}
    if figure.startswith("coverage"):
        lines[_IDEAL] = (steps, [int(figure.rpartition("_")[2]) / 100] * len(steps))
    return curves(
        lines,
        xlabel="step of the horizon" + (f" [{about.step}]" if about.step else ""),
        ylabel=figure.replace("_90", " of 90 % intervals")
        if figure.startswith("coverage")
        else f"{figure.upper()}, standardised",
        # so that a poor forecast does not squeeze the others into one line
        logy=not figure.startswith("coverage") and _far_apart(list(values.values())),
        styles=styles,
    )


def _far_apart(profiles: Sequence[Sequence[float]]) -> bool:
    means = [float(np.mean(values)) for values in profiles]
    return min(map(min, profiles)) > 0 and max(means) > 3 * min(means)


def _by_target(
    pooled: Mapping[str, ForecastScores], figure: str, about: SeriesDescription
) -> list[dict[str, Any]]:
    profiles = {name: scores.by_target() for name, scores in pooled.items()}
    columns = {name: found[figure] for name, found in profiles.items() if figure in found}
    return [
        {"target": target} | {name: values[place] for name, values in columns.items()}
        for place, target in enumerate(about.targets)
    ]


def _calibration(
    pooled: Mapping[str, ForecastScores], styles: Mapping[str, Mapping[str, Any]]
) -> Figure:
    lines: dict[str, Any] = {}
    for name, scores in pooled.items():
        if scores.levels:
            levels, shares = zip(*scores.calibration(), strict=True)
            lines[name] = (np.array(levels), list(shares))
    lines[_IDEAL] = (np.array([0.0, 1.0]), [0.0, 1.0])
    return curves(lines, xlabel="level", ylabel="share of values below", styles=styles)


def _add_series(page: Page, backtest: Backtest, own: str) -> None:
    """Series by series, the hardest first, and the means in which every series counts alike."""
    rows = backtest.series_table()
    figure = "mase" if any("mase" in row for row in rows) else "mse"
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if figure in row:
            place = found.setdefault(row["series"], {"series": row["series"]})
            place["windows"] = row["windows"]
            place[row["model"]] = row[figure]
            if row["model"] == own and "coverage_90" in row:
                place["coverage of 90 %"] = row["coverage_90"]
    ordered = sorted(found.values(), key=lambda place: -place[own])
    text = f"{figure.upper()} of all folds, of {own} and of the others"
    if len(ordered) > _SERIES:
        text += f"; the {_SERIES} series on which {own} does worst of {len(ordered)}"
    page.section("By series", f"{text}.").table(ordered[:_SERIES])
    alike = [
        {"model": model}
        | {
            name: float(
                np.mean([row[name] for row in rows if row["model"] == model and name in row])
            )
            for name in FIGURES
            if any(name in row for row in rows if row["model"] == model)
        }
        for model in dict.fromkeys(row["model"] for row in rows)
    ]
    page.table(alike, "Means over series, each counting alike, whatever its windows.")


def _examples(backtest: Backtest, about: SeriesDescription):
    chosen = np.unique(
        np.linspace(0, len(backtest.folds) - 1, min(_PANELS, len(backtest.folds))).round()
    ).astype(int)
    examples = [backtest.folds[k].example for k in chosen]
    count = len(about.targets)
    shown = np.unique(np.linspace(0, count - 1, min(_PANELS, count)).round()).astype(int).tolist()
    banded = all(e.lower is not None for e in examples)

    def stacked(name: str) -> np.ndarray:
        return np.stack([getattr(e, name)[:, shown] for e in examples])

    return forecast_panels(
        stacked("forecast"),
        stacked("history"),
        stacked("truth"),
        names=[about.targets[k] for k in shown],
        units=[about.units.get(about.targets[k], "1") for k in shown],
        titles=[e.title for e in examples],
        step=about.step,
        band=(stacked("lower"), stacked("upper")) if banded else None,
    )


def _caption(backtest: Backtest) -> str:
    banded = all(result.example.lower is not None for result in backtest.folds)
    band = "; shaded: 90 % interval" if banded else ""
    return f"The first forecast of some folds, in the units of the data{band}."
