"""How far the statistics of a rollout are from those of the truth, in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from surform.rollout.drift import drifts
from surform.rollout.statistics import PREFIX
from surform.rollout.statistics_pool import statistics_of

__all__ = ["summarize_statistics", "variables_of"]

_MOST = 8  # true runs that are compared with all of them


def summarize_statistics(prediction: xr.Dataset) -> list[dict[str, Any]]:
    """One row per variable, or pair of them, and figure: how far they are from the truth's.

    - mean: root mean square over the profile of the error of the mean, over that of the true rms;
    - rms: the same of the rms;
    - stress: the same of the Reynolds stress, over that of the product of both rms;
    - spectrum: mean of |log10| of the ratio of the spectra, over waves and the profile;
    - PDF: half the integral of the absolute difference, mean over the profile; 1 = no overlap;
    - integrals: relative error of the mean over time.

    Returns:
        {"variable", "figure", "model"}, and "one true run" where there are several: the same figure
        of single true runs against the others, the mean over at most eight. What is not above it
        may be chance.
    """
    predicted, true = statistics_of(prediction)
    if predicted is None or true is None:
        return []
    found = _figures(predicted, true)
    single = [_figures(one, others) for one, others in _true_runs(prediction)]
    rows = []
    for (variable, figure), value in found.items():
        row: dict[str, Any] = {"variable": variable, "figure": figure, "model": value}
        if single:
            row["one true run"] = float(np.mean([each[variable, figure] for each in single]))
        rows.append(row)
    return rows + list(_integrals(prediction))


def _true_runs(prediction: xr.Dataset) -> Iterator[tuple[xr.Dataset, xr.Dataset]]:
    """Statistics of one true run and of all others."""
    names = [n for n in map(str, prediction) if n.startswith(PREFIX) and n.endswith("_truth")]
    true = prediction[names].load()
    count = prediction.sizes["sample"]
    for i in range(min(count, _MOST) if count > 1 else 0):
        one, rest = ([i], [k for k in range(count) if k != i])
        pair = [statistics_of(true.isel(sample=part))[1] for part in (one, rest)]
        if pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1]


def _integrals(prediction: xr.Dataset) -> Iterator[dict[str, Any]]:
    for drift in drifts(prediction):
        figure = "mean over time, relative error"
        yield {"variable": drift.name, "figure": figure, "model": drift.error}


def variables_of(statistics: xr.Dataset) -> list[str]:
    """The fields that statistics are of."""
    return [str(n).removesuffix("_rms") for n in statistics.data_vars if str(n).endswith("_rms")]


def _figures(predicted: xr.Dataset, true: xr.Dataset) -> dict[tuple[str, str], float]:
    found = {}
    for name in variables_of(true):
        rms = _size(true[f"{name}_rms"])
        for what in ("mean", "rms"):
            error = _size(predicted[f"{name}_{what}"] - true[f"{name}_{what}"])
            found[name, f"{what}, error over rms"] = _over(error, rms)
        for spectrum in (str(n) for n in true if str(n).startswith(f"{name}_spectrum_")):
            figure = f"spectrum along {spectrum.removeprefix(f'{name}_spectrum_')}, |log10 ratio|"
            found[name, figure] = _decades(predicted[spectrum], true[spectrum])
        if f"{name}_pdf" in true:
            found[name, "PDF, distance (1: no overlap)"] = _distance(
                predicted[f"{name}_pdf"], true[f"{name}_pdf"], f"{name}_value"
            )
    for stress in (str(n) for n in true if str(n).endswith("_stress")):
        one, other = _pair(stress, variables_of(true))
        size = _size(true[f"{one}_rms"] * true[f"{other}_rms"])
        error = _size(predicted[stress] - true[stress])
        found[f"{one}, {other}", "stress, error over rms"] = _over(error, size)
    return found


def _pair(stress: str, names: list[str]) -> tuple[str, str]:
    """The two variables of `<one>_<other>_stress`, whose names may hold underscores."""
    return next(
        (one, other) for one in names for other in names if stress == f"{one}_{other}_stress"
    )


def _size(profile: xr.DataArray) -> float:
    return float((profile**2).mean() ** 0.5)


def _over(error: float, size: float) -> float:
    return error / size if size else math.nan


def _decades(predicted: xr.DataArray, true: xr.DataArray) -> float:
    # nothing moves on a wall: no wave there, nor where round-off is all that there is
    known = (true > 1e-12 * true.max()) & (predicted > 0)
    ratio = np.log10((predicted / true).where(known))
    return float(abs(ratio).mean())


def _distance(predicted: xr.DataArray, true: xr.DataArray, value: str) -> float:
    width = float(true[value][1] - true[value][0])
    return float((abs(predicted - true).sum(value) * width / 2).mean())
