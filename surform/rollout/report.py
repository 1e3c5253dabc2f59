"""The page of a rollout: fields in motion beside the truth, errors, spectra, integrals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surform.reports import Number, Page, curves, fields, label, player
from surform.reports.panels import plane
from surform.rollout.drift import drifts
from surform.rollout.statistics_report import add_statistics
from surform.rollout.summary import blow_ups, known_steps, sound, summarize, variables

__all__ = ["add_rollout", "rollout_report"]

_MODEL, _TRUTH, _STILL = "prediction", "truth", "persistence"
_MOST = 72  # of a field in motion


def rollout_report(
    path: str | os.PathLike[str],
    prediction: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    title: str,
    subtitle: str = "",
    headline: Sequence[Number] | None = None,
    text: str = "",
    details: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write the page of a rollout.

    Args:
        prediction: what `rollout_to` returned, with its observers' results.
        truth: the same variables at the same times, as far as known (`Trajectories.future`).
        headline: figures for the summary box; by default taken from `prediction`.
        details: further tables, {section: {name: value}}, e.g. provenance.
    """
    page = Page(title, subtitle).headline(
        default_headline(prediction) if headline is None else headline
    )
    add_rollout(page.text(text), prediction, truth)
    for name, table in (details or {}).items():
        page.section(name).table(table)
    return page.write(path)


def add_rollout(page: Page, prediction: xr.Dataset, truth: xr.Dataset | None = None) -> None:
    """Add the sections of a rollout to a page."""
    for variable in variables(prediction):
        shown = _one_run(prediction[variable])
        true = None if truth is None else _one_run(truth[variable])
        _motion(page, variable, shown, true)
        _errors(page, prediction, variable)
        _ensemble(page, prediction, variable)
        _spectra(page, prediction, variable)
    _integrals(page, prediction)
    add_statistics(page, prediction)
    rows = summarize(prediction)
    if rows:
        caption = (
            "Means over the runs that had not blown up by then; the time until a correlation is "
            "lost is that of the first frame below, counts all runs, and ends where one blows up. "
            "Times are lead times. ∞: not within the known frames."
        )
        page.section("Figures").table(rows, caption)
    if prediction.attrs.get("blow_up", "none") != "none":
        page.section("Blow-up").text(prediction.attrs["blow_up"].replace("; ", "\n\n"))


def default_headline(prediction: xr.Dataset) -> list[Number]:
    """The summary box of a rollout: one-step error, correlation time, length, blow-up."""
    numbers = []
    for row in summarize(prediction):
        if row["figure"] in ("relative L2, step 1", "time until correlation < 0.9"):
            still = f"persistence: {row['persistence']:.3g}" if "persistence" in row else ""
            name = f"{row['variable']}: {row['figure']}"
            numbers.append(Number(name, row["model"], still))
    bad, runs = blow_ups(prediction)
    span = float(prediction["lead_time"][-1])
    units = prediction["time"].attrs.get("units", "1")
    note = f"{span:.4g}" + (f" {units}" if units != "1" else " units of time")
    numbers.append(Number("steps rolled out", prediction.sizes["time"], note))
    return [*numbers, Number("runs that blew up", f"{bad} of {runs}", good=bad == 0)]


def _motion(page: Page, variable: str, shown: xr.DataArray, true: xr.DataArray | None) -> None:
    page.section(f"{variable.replace('_', ' ').capitalize()} in motion")
    if shown.ndim > 2:
        # Some frames, and of three axes a plane: a long rollout does not fit into memory.
        length = shown.sizes["time"]
        chosen = np.unique(np.linspace(0, length - 1, min(length, _MOST)).round().astype(int))
        moving = _frames(shown, chosen)
        panels = {_MODEL: moving}
        if true is not None:
            still = _frames(true, chosen[chosen < true.sizes["time"]])
            off = moving.isel(time=slice(still.sizes["time"]))
            panels |= {_TRUTH: still, "difference": off.copy(data=off.values - still.values)}
        page.html(
            player(panels, "Every frame follows from the one before; only the start is given.")
        )
    page.figure(
        fields(shown, true, times=_early(shown.sizes["time"])), "The same run on one color scale."
    )


def _frames(field: xr.DataArray, chosen: np.ndarray) -> xr.DataArray:
    """Some frames in memory; one by one, since a store would unpack all their chunks at once."""
    flat = plane(field)
    values = np.stack([flat.isel(time=int(i)).values for i in chosen])
    return xr.DataArray(
        values, {"time": flat["time"][chosen]}, flat.dims, name=flat.name, attrs=flat.attrs
    )


def _about(title: str, prediction: xr.Dataset, variable: str) -> str:
    """The title of a section, with the variable where there are several."""
    name = variable.replace("_", " ")
    return f"{title}: {name}" if len(variables(prediction)) > 1 else title


def _early(frames: int, count: int = 5) -> list[int]:
    """Frames from first to last, closer at the start, where prediction and truth still agree."""
    return sorted({round((frames - 1) * (i / (count - 1)) ** 2) for i in range(count)})


def _errors(page: Page, prediction: xr.Dataset, variable: str) -> None:
    kinds = (
        ("relative_l2", "relative L2", "How far the prediction is from the truth.", {}),
        ("correlation", "correlation", "How alike the two are.", {"0.9": 0.9}),
    )
    if f"{variable}_relative_l2" in prediction or f"{variable}_correlation" in prediction:
        page.section(_about("Error over time", prediction, variable))
    for metric, name, caption, levels in kinds:
        if f"{variable}_{metric}" not in prediction:
            continue
        lines, bands = _over_time(
            prediction, f"{variable}_{metric}", {"": _MODEL, "_persistence": _STILL}
        )
        figure = curves(
            lines,
            bands=bands,
            levels=levels,
            xlabel=_lead(prediction),
            ylabel=name,
        )
        page.figure(
            figure,
            f"{caption} Mean over all runs; the band spans them. Persistence repeats the last "
            "known frame.",
        )


def _ensemble(page: Page, prediction: xr.Dataset, variable: str) -> None:
    roles = {"rmse": "one member alone", "skill": "error of the mean", "spread": "spread"}
    lines = {}
    for metric, role in roles.items():
        if f"{variable}_{metric}" in prediction and f"{variable}_spread" in prediction:
            found, _ = _over_time(prediction, f"{variable}_{metric}", {"": role})
            lines |= found
    if not lines:
        return
    units = str(prediction[variable].attrs.get("units", "1"))
    name = variable.replace("_", " ")
    figure = curves(
        lines,
        logy=True,
        styles={"one member alone": {"color": "#8a8f98", "linestyle": "--"}},
        xlabel=_lead(prediction),
        ylabel=name + (f" [{units}]" if units != "1" else ""),
    )
    page.section(_about("Ensemble", prediction, variable)).figure(
        figure,
        "Root mean square over the grid, mean over the starts: the error of the members' mean, "
        "that of one member, and how far the members are from their mean. Where the spread is "
        "below the error of the mean, the ensemble is too sure.",
    )


def _spectra(page: Page, prediction: xr.Dataset, variable: str) -> None:
    for name in (f"{variable}_kinetic_spectrum", f"{variable}_spectrum"):
        if name in prediction:
            break
    else:
        return
    lines = {}
    nyquist = _nyquist(prediction[variable])
    for suffix, role in (("_truth", _TRUTH), ("", _MODEL)):
        if name + suffix in prediction:
            late = _late(sound(prediction, prediction[name + suffix]))
            energy = late.mean([d for d in late.dims if d != "wavenumber"])
            # Shells beyond the shortest axis' Nyquist wavenumber are cut off by the square.
            inside = (energy["wavenumber"] > 0) & (energy > 0) & (energy["wavenumber"] <= nyquist)
            if inside.any():
                lines[role] = energy["wavenumber"].values[inside], energy.values[inside]
    if not lines:
        return
    kind = "kinetic energy" if "kinetic" in name else f"half the variance of {variable}"
    page.section(_about("Spectrum", prediction, variable)).figure(
        curves(
            lines,
            logx=True,
            logy=True,
            xlabel=label(prediction["wavenumber"]),
            ylabel=f"{kind} per shell",
        ),
        "Energy by scale, mean over the second half of the rollout and the runs that did not blow "
        "up; of the truth over all known frames where it ends before. A model that blurs falls "
        "below the truth on the right, one that makes noise rises above it.",
    )


def _late(array: xr.DataArray) -> xr.DataArray:
    """The second half of the rollout; all that is known of what ends before it."""
    late = array.isel(time=slice(array.sizes["time"] // 2, None))
    return late if known_steps(late).any() else array


def _nyquist(field: xr.DataArray) -> float:
    axes = [d for d in field.dims if d not in ("sample", "member", "time")]
    return min(float(np.pi / abs(field[d][1] - field[d][0])) for d in axes)


def _integrals(page: Page, prediction: xr.Dataset) -> None:
    found = [n for n in ("kinetic_energy", "enstrophy") if n in prediction]
    found += [f"{v}_mean" for v in variables(prediction) if f"{v}_mean" in prediction]
    if not found:
        return
    page.section("Integrals")
    told = {drift.name: f" {drift.sentence()}" for drift in drifts(prediction)}
    for name in found:
        lines, bands = _over_time(prediction, name, {"_truth": _TRUTH, "": _MODEL})
        figure = curves(
            lines,
            bands=bands,
            xlabel=_lead(prediction),
            ylabel=label(prediction[name]),
            size=(9.6, 2.8),
        )
        caption = f"{label(prediction[name])}: mean over all runs and their range."
        page.figure(figure, caption + told.get(name.replace("_", " "), ""))


def _over_time(
    prediction: xr.Dataset, name: str, roles: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean over runs and their range, by role, against the lead time."""
    lines, bands = {}, {}
    for suffix, role in roles.items():
        if name + suffix not in prediction:
            continue
        array = prediction[name + suffix]
        known = known_steps(array)
        array = array.isel(time=known)
        runs = [d for d in array.dims if d != "time"]
        lead = prediction["lead_time"].values[known]
        lines[role] = lead, array.mean(runs).values
        bands[role] = array.min(runs).values, array.max(runs).values
    return lines, bands


def _lead(prediction: xr.Dataset) -> str:
    units = prediction["time"].attrs.get("units", "1")
    return "lead time" + (f" [{units}]" if units not in ("", "1") else "")


def _one_run(array: xr.DataArray) -> xr.DataArray:
    return array.isel({d: 0 for d in ("sample", "member") if d in array.dims})
