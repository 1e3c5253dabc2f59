"""What the report of a forecaster's run shows: forecasts, and errors by step and by variate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from surform.data.series_batch import SeriesBatch
from surform.data.series_description import SeriesDescription
from surform.reports.forecasts import forecast_panels
from surform.reports.page import Section
from surform.reports.plots import curves
from surform.training.prediction import Prediction

__all__ = ["report_sections"]

_PANELS = 4  # targets drawn
Profiles = Mapping[str, Sequence[float]]


def report_sections(
    about: SeriesDescription,
    batch: SeriesBatch,
    prediction: Prediction,
    profiles: Profiles,
    labels: Mapping[str, Any],
    band: tuple[Tensor, Tensor] | None = None,
    learnt: str = "",
) -> list[Section]:
    """Sections of the report.

    Args:
        batch: the windows to show, physical.
        prediction: their forecasts and targets, physical.
        profiles: what `ForecastTask.profile_batch` gives, averaged over the validation split.
        labels: what the data say of the windows: "last_time", "series".
        band: lower and upper bounds of 90 % intervals, physical; None without.
        learnt: what they are learnt from.
    """
    return [_forecasts(about, batch, prediction, labels, band, learnt), _errors(about, profiles)]


def _forecasts(
    about: SeriesDescription,
    batch: SeriesBatch,
    prediction: Prediction,
    labels: Mapping[str, Any],
    band: tuple[Tensor, Tensor] | None,
    learnt: str,
) -> Section:
    count = len(about.targets)
    # the first and the last one, which is what single targets are called after, and between
    shown = np.unique(np.linspace(0, count - 1, min(_PANELS, count)).round().astype(int)).tolist()
    names = [about.targets[place] for place in shown]
    figure = forecast_panels(
        _array(prediction.output)[..., shown],
        _array(batch.history)[..., [about.target_columns[place] for place in shown]],
        _array(prediction.target)[..., shown],
        names=names,
        units=[about.units.get(name, "1") for name in names],
        titles=[_title(place, batch, labels) for place in range(len(batch))],
        step=about.step,
        band=None if band is None else (_array(band[0])[..., shown], _array(band[1])[..., shown]),
    )
    more = f", {len(shown)} of {count} targets" if count > len(shown) else ""
    shaded = f"; shaded: 90 % intervals, {learnt}" if band is not None else ""
    caption = (
        f"Forecasts of {about.horizon} steps at {len(batch)} places of the validation split, in "
        f"the units of the data{more}{shaded}."
    )
    return Section("Forecasts", figures={caption: figure})


def _title(place: int, batch: SeriesBatch, labels: Mapping[str, Any]) -> str:
    """Where a window lies: its series, and the last time that was known."""
    series = str(labels["series"][place]) if "series" in labels else ""
    if "last_time" in labels:
        time = labels["last_time"][place]
        dated = isinstance(time, np.datetime64)
        text = str(time.astype("datetime64[m]")).replace("T", " ") if dated else f"{time:g}"
        return f"{series} after {text}".strip()
    return f"{series} window {int(batch.index[place])}".strip()


def _errors(about: SeriesDescription, profiles: Profiles) -> Section:
    if "mse_by_step" not in profiles:
        return Section("Errors")
    steps = np.arange(1, len(profiles["mse_by_step"]) + 1)
    figure = curves(
        {
            "forecast": (steps, profiles["mse_by_step"]),
            "persistence (the last value, repeated)": (
                steps,
                profiles["persistence_mse_by_step"],
            ),
        },
        xlabel="step of the horizon" + (f" [{about.step}]" if about.step else ""),
        ylabel="MSE, standardised",
    )
    rows = [
        {
            "target": name,
            "MSE": profiles["mse_by_variate"][place],
            "persistence MSE": profiles["persistence_mse_by_variate"][place],
            "MAE in its unit": profiles["mae_physical_by_variate"][place],
            "unit": about.units.get(name) or "not given",
        }
        for place, name in enumerate(about.targets)
    ]
    caption = (
        "By target, averaged over all validation windows and steps; MSE on standardised values."
    )
    return Section(
        "Errors",
        figures={"How the error grows along the horizon, over the validation split.": figure},
        tables={caption: rows},
    )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
