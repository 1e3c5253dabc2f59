"""What a rollout comes to: a few numbers per variable, from what the observers saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from surform.rollout.errors import correlation_time

__all__ = ["blow_ups", "known_steps", "left_out", "sound", "summarize", "variables"]


def variables(prediction: xr.Dataset) -> list[str]:
    """The predicted fields of a rolled-out dataset (its other variables are measurements)."""
    found = [str(n) for n, a in prediction.data_vars.items() if {"time"} < set(a.dims)]
    fields = [n for n in found if set(prediction[n].dims) - {"sample", "member", "time"}]
    return [n for n in fields if "wavenumber" not in prediction[n].dims]


def summarize(prediction: xr.Dataset) -> list[dict[str, Any]]:
    """One row per variable and known quantity: its mean, that of persistence, and of which runs.

    Errors are means over the runs that have not blown up by then; for a correlation time a run
    ends where it blows up.
    """
    rows = []
    for variable in variables(prediction):
        for title, value, baseline, runs in _figures(prediction, variable):
            row = {"variable": variable, "figure": title, "model": value}
            row |= {} if baseline is None else {"persistence": baseline}
            rows.append(row | {"runs": runs})
    return rows


def blow_ups(prediction: xr.Dataset) -> tuple[int, int]:
    """(runs that blew up, runs in all)."""
    steps = prediction["blow_up_step"]
    return int((steps >= 0).sum()), int(steps.size)


def left_out(prediction: xr.Dataset) -> str:
    """The runs that blew up: "sample 2, member 3; sample 4, member 0"; "" when none did."""
    steps = prediction["blow_up_step"]
    places = np.argwhere(np.asarray(steps.values >= 0))
    runs = [", ".join(f"{d} {i}" for d, i in zip(steps.dims, p, strict=True)) for p in places]
    return "; ".join(runs)


def sound(prediction: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """A measurement without the runs that blew up, or with all where every one did."""
    fine = prediction["blow_up_step"] < 0
    if not fine.any() or set(fine.dims) - set(array.dims):
        return array
    return array.where(fine)


def _figures(
    prediction: xr.Dataset, variable: str
) -> Iterator[tuple[str, float, float | None, str]]:
    error = f"{variable}_relative_l2"
    if error in prediction:
        known = int(known_steps(prediction[error]).sum())
        both = _both(prediction, error)
        for step in sorted({1, max(known // 10, 1), known} - {0}):
            model, still = both[0].isel(time=step - 1), both[1]
            still = None if still is None else still.isel(time=step - 1)
            yield f"relative L2, step {step}", _mean(model), _baseline(still), _covered(model)
    correlation = f"{variable}_correlation"
    if correlation in prediction:
        model, still = _both(prediction, correlation)
        for threshold in (0.9, 0.8):
            when = correlation_time(model, threshold, prediction.get("blow_up_step"))
            never = None if still is None else correlation_time(still, threshold)
            title = f"time until correlation < {threshold}"
            yield title, _mean(when), _baseline(never), _covered(when)
    for score in ("crps", "spread_skill"):
        if f"{variable}_{score}" in prediction:
            found = prediction[f"{variable}_{score}"]
            title = score.replace("_", "-") + ", mean over time"
            yield title, _mean(found), None, _covered(found.isel(time=known_steps(found)))


def _both(prediction: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray | None]:
    return prediction[name], prediction.get(f"{name}_persistence")


def _mean(array: xr.DataArray) -> float:
    return float(array.mean())


def _baseline(array: xr.DataArray | None) -> float | None:
    return None if array is None else _mean(array)


def _covered(array: xr.DataArray) -> str:
    """How many runs a mean is over, those with numbers throughout: "7 of 8"."""
    there = array.notnull()
    there = there.all("time") if "time" in there.dims else there
    return f"{int(there.sum())} of {there.size}"


def known_steps(array: xr.DataArray) -> np.ndarray:
    """Where along "time" any run has a number, `(T,)` bool."""
    others = tuple(axis for axis, dim in enumerate(array.dims) if dim != "time")
    return np.asarray(np.isfinite(array.values).any(axis=others))
