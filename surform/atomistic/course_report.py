"""The page that a run of molecular dynamics ends with: energies, temperature, distances."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.atomistic.course import Course
from surform.atomistic.energy_drift import EnergyDrift, energy_drift
from surform.atomistic.fragments import fragments
from surform.atomistic.radial_distribution import radial_distribution
from surform.atomistic.simulation import Simulation
from surform.atomistic.temperature_statistics import temperature_statistics
from surform.reports import Number, Page
from surform.reports.multiples import Panel, multiples
from surform.reports.plots import curves

__all__ = ["course_report", "summary_of"]

_FRAMES = 200  # of which distances are counted


def summary_of(course: Course, how: Simulation) -> dict[str, float]:
    """Figures of a run, by what they are called; which ones depends on the ensemble."""
    found: dict[str, float] = {}
    warm = temperature_statistics(course.temperature, course.degrees_of_freedom)
    found["mean temperature [K]"] = warm.mean
    found["its standard error [K]"] = warm.error
    found["deviation of frames [K]"] = warm.deviation
    found["expected at constant temperature [K]"] = warm.expected
    if how.ensemble == "nve" and len(course.frames) > 2:
        drift = _drift(course)
        found["drift of the energy [meV/atom/ps]"] = drift.drift
        found["standard error of the drift [meV/atom/ps]"] = drift.error
        found["fluctuation of the energy [meV/atom]"] = drift.fluctuation
    first, last = (fragments(course.moved_to(at)) for at in (0, -1))
    if first != last:  # a potential that knows too little lets molecules fall apart
        found["pieces held by bonds at the start"] = first
        found["pieces held by bonds at the end"] = last
    return found


def course_report(
    path: str | os.PathLike[str],
    course: Course,
    how: Simulation,
    details: Mapping[str, Any],
) -> Path:
    """Write the page; returns its path."""
    formula = course.atoms.get_chemical_formula()
    found = summary_of(course, how)
    kind = "constant energy" if how.ensemble == "nve" else f"Langevin at {how.temperature:g} K"
    page = Page(f"{formula}: {course.time[-1]:g} ps of molecular dynamics", kind)
    page.headline([Number(name, value) for name, value in found.items() if value == value])
    _energies(page, course, how)
    _temperature(page, course, how)
    _distances(page, course)
    return page.section("How it was made").table(details).write(path)


def _drift(course: Course) -> EnergyDrift:
    return energy_drift(course.time, course.potential + course.kinetic, len(course.atoms))


def _energies(page: Page, course: Course, how: Simulation) -> None:
    time, atoms = course.time, len(course.atoms)

    def counted(energy: np.ndarray) -> np.ndarray:
        return 1000 * (energy - energy[0]) / atoms

    total = counted(course.potential + course.kinetic)
    lines = {"potential": (time, counted(course.potential)), "total": (time, total)}
    axes: dict[str, Any] = {"xlabel": "time [ps]", "ylabel": "energy [meV/atom]"}
    page.section("Energy").figure(curves(lines, **axes), "Energies, counted from the first frame.")
    if how.ensemble == "nve" and len(time) > 2:
        drift = _drift(course)
        lines = {"total": (time, total), "fit": (time, drift.line(time))}
        page.figure(
            curves(lines, **axes),
            f"Total energy; it drifts by {drift.drift:.3g} ± {drift.error:.2g} meV/atom/ps.",
        )


def _temperature(page: Page, course: Course, how: Simulation) -> None:
    levels = {} if how.temperature is None or how.ensemble == "nve" else {"set": how.temperature}
    figure = curves(
        {"temperature": (course.time, course.temperature)},
        xlabel="time [ps]",
        ylabel="temperature [K]",
        levels=levels,
    )
    page.section("Temperature").figure(
        figure, f"Kinetic temperature of {course.degrees_of_freedom} degrees of freedom."
    )


def _distances(page: Page, course: Course) -> None:
    if len(course.atoms) < 2:
        return
    frames = course.frames["positions"]
    chosen = frames[:: max(1, -(-len(frames) // _FRAMES))]
    atoms = course.atoms
    found = radial_distribution(chosen, atoms.numbers, cell=atoms.cell.array, pbc=atoms.pbc)
    name = "g(r)" if found.normalized else "neighbours per Å"
    # one name for all lines, as each panel's title says which pair it shows
    panels = [
        Panel(pair, {"pairs": (found.distance, values)}, "distance [Å]", name)
        for pair, values in found.values.items()
        if values.any()
    ]
    if not panels:
        return
    text = f"Of {len(chosen)} frames, by pairs of elements."
    page.section("Distances").figure(multiples(panels), text)
