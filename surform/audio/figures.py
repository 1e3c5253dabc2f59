"""What the report of a run on sounds shows: spectrograms, the confusion of classes, each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from surform.data.clips_description import ClipsDescription
from surform.reports.classes import class_sections
from surform.reports.look import COLORS, look
from surform.reports.page import Section

__all__ = ["report_sections"]

_COLUMNS = 4
_ROWS = 30  # of the table of classes


def report_sections(
    about: ClipsDescription,
    spectrograms: Tensor,
    chances: Tensor,
    truth: Tensor,
    profiles: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> list[Section]:
    """Sections of the report.

    Args:
        spectrograms: some of the validation split, (B, frames, bins).
        chances: their probabilities of the classes, (B, K).
        truth: 1 where a class is heard, (B, K).
        profiles: averaged over the split, as `AudioTask` gives them.
        labels: "name" of each clip.
    """
    sections = [_samples(about, spectrograms, chances, truth, labels)]
    if about.several:
        return sections + _several(about, profiles)
    return sections + class_sections(about.classes, profiles, "clips")


def _samples(
    about: ClipsDescription,
    spectrograms: Tensor,
    chances: Tensor,
    truth: Tensor,
    labels: Mapping[str, Any],
) -> Section:
    from matplotlib.figure import Figure

    pictures = spectrograms.detach().float().cpu().numpy()
    found, heard = chances.detach().cpu().numpy(), truth.cpu().numpy() > 0.5
    seconds = about.frames / 100
    low, high = np.quantile(pictures, (0.01, 0.995))
    rows = -(-len(pictures) // _COLUMNS)
    with look():
        figure = Figure(figsize=(2.6 * _COLUMNS, 2.1 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(panels.ravel()):
            axes.grid(False)
            if place >= len(pictures):
                axes.set_axis_off()
                continue
            axes.imshow(
                pictures[place].T,
                origin="lower",
                aspect="auto",
                extent=(0, seconds, 0, pictures.shape[2]),
                vmin=low,
                vmax=high,
                cmap="magma",
            )
            title, right = _title(about, found[place], heard[place])
            axes.set_title(title, fontsize=7, color=COLORS["truth" if right else "error"])
        for axes in panels[-1]:
            axes.set_xlabel("time [s]", fontsize=7)
        for axes in panels[:, 0]:
            axes.set_ylabel("mel band", fontsize=7)
    caption = "Log-mel spectrograms of validation clips with what was found; red where wrong."
    names = ", ".join(map(str, labels.get("name", ())))
    return Section("Predictions", figures={f"{caption} {names}".strip(): figure})


def _title(about: ClipsDescription, chances: np.ndarray, heard: np.ndarray) -> tuple[str, bool]:
    """What was found, and what is there where that differs."""
    classes = np.array(about.classes)
    if about.several:
        found = chances > 0.5
        right = bool((found == heard).all())
        title = " + ".join(f"{n} {c:.0%}" for n, c in zip(classes[found], chances[found]))  # noqa: B905
        truth = " + ".join(classes[heard])
    else:
        best = int(chances.argmax())
        right = bool(heard[best])
        title, truth = f"{classes[best]}, {chances[best]:.0%}", str(classes[heard.argmax()])
    return (title or "none") + ("" if right else f"\nis {truth or 'none'}"), right


def _several(about: ClipsDescription, profiles: Mapping[str, Any]) -> list[Section]:
    """Average precision of each class, the worst first."""
    if "class_map" not in profiles:
        return []
    precision, share = (np.asarray(profiles[name]) for name in ("class_map", "class_share"))
    order = np.argsort(np.nan_to_num(precision, nan=2.0))[:_ROWS]
    rows = [
        {
            "class": about.classes[place],
            "share of the clips": f"{share[place]:.1%}",
            "average precision": "no clips" if share[place] == 0 else f"{precision[place]:.3f}",
        }
        for place in order.tolist()
    ]
    what = f"the {len(rows)} worst" if len(rows) < len(about.classes) else "the worst first"
    return [Section("Classes", tables={f"On the validation split, {what}.": rows})]
