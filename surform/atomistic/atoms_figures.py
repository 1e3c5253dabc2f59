"""What the report of a potential's run shows: energies and forces beside those of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from surform.atomistic.energy_forces import AtomsPrediction
from surform.data.atoms_batch import AtomsBatch
from surform.data.elements import SYMBOLS
from surform.reports.look import COLORS, look
from surform.reports.page import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["direction_figure", "parity_figure", "report_sections"]

_BINS = 40


def report_sections(
    prediction: AtomsPrediction, batch: AtomsBatch, profiles: Mapping[str, Any]
) -> list[Section]:
    """Sections of the report.

    Args:
        prediction: of the batch, in physical units; energies without the references.
        profiles: what `force_errors_of_elements` gives, as means over the split.
    """
    atoms = _numpy(batch.batch.bincount(minlength=len(batch)))
    pairs = {"energy [eV per atom]": _known(prediction.output, prediction.target, atoms)}
    force_pair = None
    if prediction.forces is not None and prediction.force_target is not None:
        counted = prediction.force_target.isfinite().all(1) & batch.free
        force_pair = prediction.forces[counted], prediction.force_target[counted]
        pairs["force component [eV/Å]"] = _known(force_pair[0].flatten(), force_pair[1].flatten())
    drawn = {name: pair for name, pair in pairs.items() if len(pair[0])}
    if not drawn:
        return []
    caption = (
        f"Predictions over the data's values, of {len(batch)} structures of the validation split. "
        "Energies without the references of the elements."
    )
    sections = [Section("Predictions", figures={caption: parity_figure(drawn)})]
    if force_pair is not None and len(force_pair[0]):
        sections.append(_directions(*force_pair))
    if "force_error" in profiles:
        sections.append(_elements(profiles))
    return sections


def parity_figure(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """A square panel for each quantity: {name: (predicted, true)}."""
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(4.4 * len(pairs), 4.2), layout="constrained")
        panels = figure.subplots(1, len(pairs), squeeze=False)[0]
        for axes, (name, (found, truth)) in zip(panels, pairs.items(), strict=True):
            _parity(axes, found, truth)
            quantity, _, unit = name.partition(" [")
            off = np.abs(found - truth).mean()
            axes.set_title(f"{quantity}: mean error {1000 * off:.3g} m{unit.removesuffix(']')}")
            axes.set(xlabel=f"data, {name}", ylabel=f"predicted, {name}")
    return figure


def direction_figure(found: np.ndarray, truth: np.ndarray) -> Figure:
    """How far forces point away from the true ones, and how that depends on their length.

    Args:
        found, truth: (N, 3) [eV/Å].
    """
    from matplotlib.figure import Figure

    product = (found * truth).sum(1)
    angles = np.degrees(np.arctan2(np.linalg.norm(np.cross(found, truth), axis=1), product))
    lengths = np.linalg.norm(truth, axis=1)
    cosine = float(np.cos(np.radians(angles)).mean())
    with look():
        figure = Figure(figsize=(8.8, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.hist(angles, bins=_BINS, color=COLORS["prediction"])
        left.axvline(np.median(angles), color=COLORS["truth"], linewidth=1)
        left.set(xlabel="angle to the true force [degrees]", ylabel="atoms")
        left.set_title(f"median {np.median(angles):.2g} degrees, mean cosine {cosine:.4f}")
        shown = (lengths > 0) & (angles > 0)
        right.plot(lengths[shown], angles[shown], ".", color=COLORS["prediction"], markersize=3)
        right.set(xlabel="length of the true force [eV/Å]", ylabel="angle [degrees]")
        right.set_yscale("log")
        right.yaxis.set_major_formatter("{x:g}")
        right.set_title("by the length of the true force")
    return figure


def _directions(forces: Tensor, target: Tensor) -> Section:
    figure = direction_figure(_numpy(forces), _numpy(target))
    caption = f"Directions of the forces on the {len(forces)} free atoms of these structures."
    return Section("Directions of forces", figures={caption: figure})


def _elements(profiles: Mapping[str, Any]) -> Section:
    """The force error of each element, the largest first."""
    share = np.asarray(profiles["share_of_element"])
    error = np.asarray(profiles["force_error"])
    there = np.flatnonzero(share > 0)
    there = there[np.argsort(-error[there] / share[there], kind="stable")]
    table = [
        {
            "element": SYMBOLS[number] if number < len(SYMBOLS) else str(number),
            "share of atoms": f"{share[number]:.1%}",
            "force MAE [meV/Å]": f"{1000 * error[number] / share[number]:.1f}",
        }
        for number in there.tolist()
    ]
    return Section("Elements", tables={"On free atoms of the validation split.": table})


def _parity(axes: Axes, found: np.ndarray, truth: np.ndarray) -> None:
    low, high = min(found.min(), truth.min()), max(found.max(), truth.max())
    pad = 0.04 * (high - low) or 1.0
    ends = (low - pad, high + pad)
    axes.plot(ends, ends, color="#8a8f98", linewidth=1)
    axes.plot(truth, found, ".", color=COLORS["prediction"], markersize=3, alpha=0.6)
    axes.set(xlim=ends, ylim=ends)
    axes.set_aspect("equal")


def _known(
    found: Tensor, truth: Tensor, per: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    known = _numpy(truth.isfinite()).astype(bool)
    share = np.ones(len(known)) if per is None else per
    return _numpy(found)[known] / share[known], _numpy(truth)[known] / share[known]


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
