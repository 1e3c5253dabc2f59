"""What the report of a tagger's run shows: jets, ROC curves, what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.jets_batch import JetBatch
from surform.data.jets_description import JetsDescription
from surform.particles.roc import EFFICIENCIES
from surform.reports.classes import class_sections
from surform.reports.look import COLORS, CYCLE, look
from surform.reports.page import Section
from surform.training.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_sections", "roc_figure"]

_AT = (0.3, 0.5, 0.8)  # signal efficiencies of the table
_COLUMNS = 5
# names under which layouts have the place of a particle, and its transverse momentum
_PLACES = (("eta_rel", "phi_rel"), ("etarel", "phirel"), ("deta", "dphi"))
_SIZES = {"pt": False, "log_pt": True, "pt_log": True}
_FLOOR = 1e-4  # background efficiency at the foot of the figure


def report_sections(
    about: JetsDescription,
    batch: JetBatch,
    prediction: Prediction,
    profiles: Mapping[str, Any],
) -> list[Section]:
    """Sections of the report.

    Args:
        batch: some jets of the validation split.
        prediction: their logits and the probabilities of the classes.
        profiles: "roc" (classes, efficiencies) and "areas" (classes,), perhaps the "optimal_" ones,
            and what `ClassTask.profile_batch` gives.
    """
    sections = _jets(about, batch, prediction)
    if "roc" in profiles:
        sections.append(_roc(about, profiles))
    return sections + class_sections(about.classes, profiles, "jets")


def _jets(about: JetsDescription, batch: JetBatch, prediction: Prediction) -> list[Section]:
    from matplotlib.figure import Figure

    names = about.features
    place = next((pair for pair in _PLACES if set(pair) <= set(names)), None)
    if place is None:  # nothing says where particles are
        return []
    particles = batch.particles.float().cpu().numpy()
    there = (particles != 0).any(-1)
    eta, phi = (particles[..., names.index(name)] for name in place)
    area = _areas(particles, names)
    chances = prediction.output.float().softmax(-1).cpu().numpy()
    truth = prediction.target.argmax(-1).cpu().numpy()
    reach = 1.05 * max(np.abs(eta[there]).max(), np.abs(phi[there]).max(), 1e-6)
    rows = -(-len(particles) // _COLUMNS)
    with look():
        figure = Figure(figsize=(1.9 * _COLUMNS, 2.2 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
        for jet, axes in enumerate(panels):
            if jet >= len(particles):
                axes.set_visible(False)
                continue
            own, found = there[jet], int(chances[jet].argmax())
            axes.scatter(eta[jet, own], phi[jet, own], s=area[jet, own], alpha=0.55, linewidths=0)
            axes.set_axisbelow(True)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            right = found == truth[jet]
            title = f"{about.classes[found]}, {chances[jet, found]:.0%}"
            title += "" if right else f"; is {about.classes[truth[jet]]}"
            axes.set_title(title, fontsize=7, color=COLORS["truth" if right else "error"])
        figure.supxlabel(place[0].replace("_", " "), fontsize=8)
        figure.supylabel(place[1].replace("_", " "), fontsize=8)
    caption = (
        "Validation jets, a disc for each particle; larger discs have more transverse momentum. "
        "Predicted class and its probability; red where wrong."
    )
    return [Section("Jets", figures={caption: figure})]


def _areas(particles: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Of the discs [points^2]."""
    for name, logarithm in _SIZES.items():
        if name in names:
            values = particles[..., names.index(name)]
            pt = np.exp(values) if logarithm else values
            return np.clip(150 * np.sqrt(pt / max(pt.max(), 1e-12)), 3, None)
    return np.full(particles.shape[:2], 20.0)


def _roc(about: JetsDescription, profiles: Mapping[str, Any]) -> Section:
    found = np.asarray(profiles["roc"], dtype=float)
    best = np.asarray(profiles["optimal_roc"]) if "optimal_roc" in profiles else None
    rows = []
    for number, name in enumerate(about.classes):
        row = {"class": name, "AUC": f"{profiles['areas'][number]:.4f}"}
        if best is not None:
            row["best possible AUC"] = f"{profiles['optimal_areas'][number]:.4f}"
        for share in _AT:
            row[f"rejection at {share:.0%}"] = _rejection(found[number], share)
            if best is not None and share == _AT[1]:
                row["best possible"] = _rejection(best[number], share)
        rows.append(row)
    caption = (
        "Each class against all others: the share of the others that pass where so many of the "
        "class do." + (" Dotted: the best possible, by the likelihood ratio." * (best is not None))
    )
    table = "Rejection is 1 / the share of the others that pass, at a share of the class."
    return Section(
        "ROC curves",
        figures={caption: roc_figure(about.classes, found, best)},
        tables={table: rows},
    )


def roc_figure(classes: tuple[str, ...], found: np.ndarray, best: np.ndarray | None) -> Figure:
    """Background efficiencies (classes, 201) over signal efficiencies, logarithmic."""
    from matplotlib.figure import Figure

    x = EFFICIENCIES.numpy()
    with look():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        for number, name in enumerate(classes):
            color = CYCLE[number % len(CYCLE)]
            style = "-" if number < len(CYCLE) else "--"
            axes.plot(x, _shown(found[number]), style, color=color, label=name)
            if best is not None:
                axes.plot(x, _shown(best[number]), ":", color=color, linewidth=1.2)
        axes.set(xlabel="signal efficiency", ylabel="background efficiency")
        axes.set(yscale="log", xlim=(0, 1), ylim=(_FLOOR, 1))
        axes.legend(loc="lower right")
    return figure


def _shown(shares: np.ndarray) -> np.ndarray:
    return np.where(shares > _FLOOR / 10, shares, np.nan)


def _rejection(shares: np.ndarray, efficiency: float) -> str:
    share = float(np.interp(efficiency, EFFICIENCIES.numpy(), shares))
    return "all" if share == 0 else f"{1 / share:.3g}"
