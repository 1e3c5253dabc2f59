"""What a rollout comes to: a few numbers per variable, from what the observers saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from surform.rollout.errors import correlation_time

__all__ = ["blow_ups", "known_steps", "summarize", "variables"]


def variables(prediction: xr.Dataset) -> list[str]:
    """The predicted fields of a rolled-out dataset (its other variables are measurements)."""
    found = [str(n) for n, a in prediction.data_vars.items() if {"time"} < set(a.dims)]
    fields = [n for n in found if set(prediction[n].dims) - {"sample", "member", "time"}]
    return [n for n in fields if "wavenumber" not in prediction[n].dims]


def summarize(prediction: xr.Dataset) -> list[dict[str, Any]]:
    """One row per variable and known quantity: its value, and that of persistence where known."""
    rows = []
    for variable in variables(prediction):
        for title, value, baseline in _figures(prediction, variable):
            row = {"variable": variable, "figure": title, "model": value}
            rows.append(row | ({} if baseline is None else {"persistence": baseline}))
    return rows


def blow_ups(prediction: xr.Dataset) -> tuple[int, int]:
    """(runs that blew up, runs in all)."""
    steps = prediction["blow_up_step"]
    return int((steps >= 0).sum()), int(steps.size)


def _figures(prediction: xr.Dataset, variable: str) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    error = f"{variable}_relative_l2"
    if error in prediction:
        known = int(known_steps(prediction[error]).sum())
        for step in sorted({1, max(known // 10, 1), known}):
            title = f"relative L2, step {step}"
            found.append((title, *_both(prediction, error, lambda a, s=step: a.isel(time=s - 1))))
    correlation = f"{variable}_correlation"
    if correlation in prediction:
        for threshold in (0.9, 0.8):
            title = f"time until correlation < {threshold}"
            when = _both(prediction, correlation, lambda a, t=threshold: correlation_time(a, t))
            found.append((title, *when))
    for score in ("crps", "spread_skill"):
        if f"{variable}_{score}" in prediction:
            mean = float(prediction[f"{variable}_{score}"].mean())
            found.append((score.replace("_", "-") + ", mean over time", mean, None))
    return found


def _both(prediction: xr.Dataset, name: str, take: Any) -> tuple[float, float | None]:
    still = f"{name}_persistence"
    model = float(take(prediction[name]).mean())
    return model, float(take(prediction[still]).mean()) if still in prediction else None


def known_steps(array: xr.DataArray) -> np.ndarray:
    """Where along "time" any run has a number, `(T,)` bool."""
    others = tuple(axis for axis, dim in enumerate(array.dims) if dim != "time")
    return np.asarray(np.isfinite(array.values).any(axis=others))
