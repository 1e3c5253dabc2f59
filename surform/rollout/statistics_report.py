"""The statistics of a rollout in its report: profiles, spectra and PDFs beside the truth's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from surform.reports import Page, label
from surform.reports.multiples import Panel, multiples
from surform.rollout.statistics import PREFIX, velocity_of
from surform.rollout.statistics_figures import summarize_statistics, variables_of
from surform.rollout.statistics_pool import statistics_of
from surform.rollout.summary import left_out
from surform.rollout.turbulence_files import fold, wall_units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["add_statistics"]

_PLUS = 15.0  # where fluctuations along a wall are strongest
_SLIGHT = 0.02  # of the rms: a mean or a stress that is chance
_NEAR_WALL = 0.1  # of the channel, where wall units are not known


def add_statistics(page: Page, prediction: xr.Dataset) -> None:
    """Add the section, where there are statistics."""
    predicted, true = statistics_of(prediction)
    if predicted is None:
        if f"{PREFIX}frames" in prediction:
            page.section("Statistics").text("There are none: every run blew up.")
        return
    page.section("Statistics").text(_over_what(prediction, predicted, true))
    flows = {"prediction": predicted} if true is None else {"truth": true, "prediction": predicted}
    kept = _kept(predicted)
    if len(kept) == 1:
        page.figure(*_profiles(flows, kept[0], prediction))
    spectra = list(_spectra(flows, kept, prediction))
    if spectra:
        page.figure(multiples(spectra), "Energy by wavenumber along the periodic axes.")
    densities = list(_densities(flows, kept, prediction))
    if densities:
        caption = f"How often a value occurs: probability density. {_beyond(flows)}"
        page.figure(multiples(densities), caption.rstrip())
    rows = summarize_statistics(prediction)
    if rows:
        page.table(
            rows,
            "How far the statistics are from the truth's: means and rms in units of the true rms, "
            "root mean square over the profile; stresses in units of the product of both rms; "
            "spectra as decades, mean over all waves; PDFs as half the integral of the difference. "
            "What is not above the same figure of one true run against the others may be chance.",
        )


def _over_what(prediction: xr.Dataset, predicted: xr.Dataset, true: xr.Dataset | None) -> str:
    steps, runs = prediction.sizes["time"], prediction[f"{PREFIX}frames"]
    axes = [str(n).rpartition("_")[2] for n in predicted.dims if str(n).startswith("wavenumber_")]
    text = f"Over {steps} steps of {int((runs > 0).sum())} runs and along {' and '.join(axes)}. "
    if true is not None:
        seen = int(prediction[f"{PREFIX}frames_truth"].max())
        same = "the same times" if seen == steps else f"all {seen} frames of the data"
        text += f"The truth is taken over {same}. "
    gone = left_out(prediction)
    return text + (f"Left out, because they blew up: {gone}." if gone else "")


def _kept(statistics: xr.Dataset) -> list[str]:
    """The axes that were not averaged over."""
    name = variables_of(statistics)[0]
    return [str(dim) for dim in statistics[f"{name}_rms"].dims]


# -- profiles ----------------------------------------------------------------------------------


def _profiles(
    flows: dict[str, xr.Dataset], axis: str, prediction: xr.Dataset
) -> tuple[Figure, str]:
    """The figure and its caption; in wall units where the data tell the friction velocity."""
    caption = (
        "Profiles of means, fluctuations and Reynolds stresses; means and stresses below "
        f"{_SLIGHT:.0%} of the rms are left out."
    )
    velocity, scales = _channel(flows, axis, prediction), _wall_scales(prediction)
    if velocity is None or scales is None:
        return multiples(list(_profile_panels(flows, axis, False))), caption
    flows = {role: _in_wall_units(f, axis, velocity, scales) for role, f in flows.items()}
    caption += " Both halves of the channel are averaged, in wall units of the data's u_tau."
    return multiples(list(_profile_panels(flows, f"{axis}_plus", True))), caption


def _profile_panels(flows: dict[str, xr.Dataset], x: str, logx: bool) -> Iterator[Panel]:
    names = variables_of(flows["prediction"])
    wanted = [(f"{n}_mean", f"mean of {n}", (n,)) for n in names]
    wanted += [(f"{n}_rms", f"rms of {n}", ()) for n in names]
    wanted += [(f"{a}_{b}_stress", f"-<{a}'{b}'>", (a, b)) for a in names for b in names]
    for name, title, compared in wanted:
        if not _shows(flows, name, compared):
            continue
        lines = {}
        for role, flow in flows.items():
            place = flow[x].values
            keep = place > 0 if logx else np.ones(len(place), bool)
            lines[role] = place[keep], flow[name].values[keep]
        xlabel = f"{x.removesuffix('_plus')}⁺" if logx else label(flows["prediction"][x])
        yield Panel(title + "⁺" * logx, lines, xlabel, logx=logx)


def _shows(flows: dict[str, xr.Dataset], name: str, compared: tuple[str, ...]) -> bool:
    """Whether a profile is there and, in any flow, more than `_SLIGHT` of the rms it belongs to."""
    for flow in flows.values():
        if name not in flow:
            return False
        size = math.prod(float(flow[f"{n}_rms"].max()) for n in compared)
        if not compared or float(abs(flow[name]).max()) > _SLIGHT * size:
            return True
    return False


def _in_wall_units(
    flow: xr.Dataset, axis: str, velocity: dict[str, str], scales: tuple[float, float]
) -> xr.Dataset:
    names = velocity.values()
    wanted = [f"{n}_{what}" for n in names for what in ("mean", "rms")]
    wanted += [f"{a}_{b}_stress" for a in names for b in names]
    from_wall = flow[[n for n in wanted if n in flow]]
    from_wall = from_wall.assign_coords({axis: flow[axis].values - flow[axis].values[0]})
    return wall_units(fold(from_wall, axis, velocity[axis]), *scales, axis)


def _channel(
    flows: dict[str, xr.Dataset], axis: str, prediction: xr.Dataset
) -> dict[str, str] | None:
    """The velocity along each axis; None where the axis is none that could be folded."""
    points = flows["prediction"][axis].values
    names = variables_of(flows["prediction"])
    axes = [str(d) for d in prediction[names[0]].dims if d not in ("sample", "member", "time")]
    velocity = velocity_of(axes, names)
    if not velocity or not np.allclose(points + points[::-1], points[0] + points[-1], atol=1e-6):
        return None
    return dict(zip(axes, velocity, strict=True))


def _wall_scales(prediction: xr.Dataset) -> tuple[float, float] | None:
    """Friction velocity and viscosity, where the data give both: means over the samples."""
    found = []
    for name in ("u_tau", "viscosity"):
        if name in prediction.variables and "time" not in prediction[name].dims:
            found.append(float(prediction[name].mean()))
        elif isinstance(prediction.attrs.get(name), int | float):
            found.append(float(prediction.attrs[name]))
    return (found[0], found[1]) if len(found) == 2 else None


# -- spectra and histograms ----------------------------------------------------------------------


def _places(flow: xr.Dataset, kept: list[str], prediction: xr.Dataset) -> dict[str, dict[str, int]]:
    """Where along the kept axes curves are shown, by title: near the wall and in the middle."""
    if not kept:
        return {"": {}}
    middle = {axis: flow.sizes[axis] // 2 for axis in kept}
    if len(kept) > 1:
        return {"in the middle": middle}
    (axis,) = kept
    points = flow[axis].values - flow[axis].values[0]
    scales = _wall_scales(prediction)
    near = _PLUS * scales[1] / scales[0] if scales else _NEAR_WALL * points[-1] / 2
    wall = max(1, int(np.abs(points - near).argmin()))
    return {f"{axis} = {float(flow[axis][i]):.3g}": {axis: i} for i in (wall, middle[axis])}


def _spectra(
    flows: dict[str, xr.Dataset], kept: list[str], prediction: xr.Dataset
) -> Iterator[Panel]:
    """One panel per variable, axis and place; none where shells of wavenumbers tell more."""
    if not kept and any(str(n).endswith("_spectrum") for n in prediction.data_vars):
        return
    first = next(iter(flows.values()))
    names = [str(n) for n in first if "_spectrum_" in str(n)]
    for where, index in _places(first, kept, prediction).items():
        for name in names:
            variable, _, axis = name.rpartition("_spectrum_")
            wave = f"wavenumber_{axis}"
            lines = {r: _positive(f[name].isel(index), f[wave]) for r, f in flows.items()}
            title = f"{variable} along {axis}" + (f", {where}" if where else "")
            yield Panel(title, lines, label(first[wave]), logx=True, logy=True)


def _densities(
    flows: dict[str, xr.Dataset], kept: list[str], prediction: xr.Dataset
) -> Iterator[Panel]:
    first = next(iter(flows.values()))
    for where, index in _places(first, kept, prediction).items():
        for name in (n for n in variables_of(first) if f"{n}_pdf" in first):
            value = f"{name}_value"
            # The outer bins are open: they hold all values beyond, and have no density.
            closed = {**index, value: slice(1, -1)}
            lines = {
                role: _positive(flow[f"{name}_pdf"].isel(closed), flow[value][1:-1])
                for role, flow in flows.items()
            }
            units = str(first[value].attrs.get("units", "1"))
            xlabel = name.replace("_", " ") + (f" [{units}]" if units != "1" else "")
            title = f"{name}, {where}" if where else ""  # the axis says the name
            yield Panel(title, lines, xlabel, "probability density", logy=True)


def _beyond(flows: dict[str, xr.Dataset]) -> str:
    """How much the open outer bins hold, which are not drawn."""
    told = []
    for role, flow in flows.items():
        for name in (n for n in variables_of(flow) if f"{n}_pdf" in flow):
            pdf, value = flow[f"{name}_pdf"], f"{name}_value"
            width = float(flow[value][1] - flow[value][0])
            share = float(pdf.isel({value: [0, -1]}).sum(value).mean()) * width
            if share > 0:
                told.append(
                    f"{100 * share:.2g}% of the values of {name.replace('_', ' ')} ({role})"
                )
    return f"Beyond the axis lie {', '.join(told)}." if told else ""


def _positive(values: xr.DataArray, x: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    keep = values.values > 0
    return x.values[keep], values.values[keep]
