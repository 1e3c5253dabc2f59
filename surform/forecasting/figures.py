"""What the report of a forecaster's run shows: forecasts, and errors by step and by variate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from surform.data.series_batch import SeriesBatch
from surform.data.series_description import SeriesDescription
from surform.reports.forecasts import forecast_panels
from surform.reports.page import Section
from surform.reports.plots import curves
from surform.training.prediction import Prediction

__all__ = ["report_sections"]

Profiles = Mapping[str, Sequence[float]]


def report_sections(
    about: SeriesDescription, batch: SeriesBatch, prediction: Prediction, profiles: Profiles
) -> list[Section]:
    """Sections of the report.

    Args:
        batch: the windows to show, physical.
        prediction: their forecasts and targets, physical.
        profiles: what `ForecastTask.profile_batch` gives, averaged over the validation split.
    """
    return [_forecasts(about, batch, prediction), _errors(about, profiles)]


def _forecasts(about: SeriesDescription, batch: SeriesBatch, prediction: Prediction) -> Section:
    figure = forecast_panels(
        _array(prediction.output),
        _array(batch.history[..., list(about.target_columns)]),
        _array(prediction.target),
        names=about.targets,
        units=[about.units.get(name, "1") for name in about.targets],
        titles=[f"validation window {int(index)}" for index in batch.index],
        step=about.step,
    )
    shown, hidden = min(4, len(about.targets)), max(0, len(about.targets) - 4)
    more = f" {hidden} more are not drawn." if hidden else ""
    caption = (
        f"Forecasts of {about.horizon} steps at three places of the validation split, "
        f"{shown} target{'s' * (shown != 1)}, in the units of the data.{more}"
    )
    return Section("Forecasts", figures={caption: figure})


def _errors(about: SeriesDescription, profiles: Profiles) -> Section:
    if "mse_by_step" not in profiles:
        return Section("Errors")
    steps = np.arange(1, len(profiles["mse_by_step"]) + 1)
    figure = curves(
        {
            "prediction": (steps, profiles["mse_by_step"]),
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
            "unit": about.units.get(name, "1"),
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
