"""What the report of a policy's run shows: its actions beside those of the demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.demonstrations_description import DemonstrationsDescription
from surform.reports.look import COLORS, look
from surform.reports.page import Section
from surform.training.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["chunk_figure", "report_sections", "step_figure"]

_SHOWN = 6  # numbers of an action, and chunks, that are drawn


def report_sections(
    about: DemonstrationsDescription, prediction: Prediction, profiles: Mapping[str, Any]
) -> list[Section]:
    """Sections of the report.

    Args:
        prediction: chunks (B, C, A) of the validation split, in the robot's units.
        profiles: what `PolicyTask.profile_batch` gives, averaged over the split.
    """
    names = about.action_names or tuple(f"action {n}" for n in range(about.action_dim))
    found, truth = (
        x.detach().float().cpu().numpy() for x in (prediction.output, prediction.target)
    )
    mask = np.ones(found.shape[:2], bool)
    if prediction.weight is not None:
        mask = prediction.weight[..., 0].bool().cpu().numpy()
    caption = (
        f"The first {min(_SHOWN, len(names))} numbers of the actions over those of the "
        f"demonstrations, of {len(found)} windows of held-out episodes."
    )
    sections = [Section("Actions", figures={caption: chunk_figure(found, truth, mask, names)})]
    if "number_l1" in profiles:
        sections.append(_numbers(about, names, np.asarray(profiles["number_l1"])))
    if about.chunk > 1 and "step_l1" in profiles:
        share = np.maximum(np.asarray(profiles["step_share"]), 1e-9)
        figure = step_figure(np.asarray(profiles["step_l1"]) / share)
        text = "Mean absolute error by the place of an action in its chunk, on held-out episodes."
        sections.append(Section("Along the chunk", figures={text: figure}))
    return sections


def chunk_figure(
    found: np.ndarray, truth: np.ndarray, mask: np.ndarray, names: tuple[str, ...]
) -> Figure:
    """A panel for each number of an action: predicted over true."""
    from matplotlib.figure import Figure

    count = min(_SHOWN, len(names))
    rows = -(-count // 3)
    with look():
        figure = Figure(figsize=(3.2 * min(count, 3), 3.0 * rows), layout="constrained")
        panels = figure.subplots(rows, min(count, 3), squeeze=False).ravel()
        for number, axes in enumerate(panels):
            if number >= count:
                axes.set_axis_off()
                continue
            x, y = truth[..., number][mask], found[..., number][mask]
            low, high = min(x.min(), y.min()), max(x.max(), y.max())
            pad = 0.04 * (high - low) or 1.0
            ends = (low - pad, high + pad)
            axes.plot(ends, ends, color=COLORS["truth"], linewidth=1)
            axes.plot(x, y, ".", color=COLORS["prediction"], markersize=3, alpha=0.5)
            axes.set(xlim=ends, ylim=ends, xlabel="demonstrated", title=names[number])
        panels[0].set_ylabel("predicted")
    return figure


def step_figure(errors: np.ndarray) -> Figure:
    """The error of each action of a chunk."""
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(6, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(range(len(errors)), errors, ".-", color=COLORS["error"])
        axes.set(xlabel="steps after the observation", ylabel="mean absolute error", ylim=(0, None))
    return figure


def _numbers(
    about: DemonstrationsDescription, names: tuple[str, ...], errors: np.ndarray
) -> Section:
    spread = about.statistics.get("action", {}).get("std", [])
    table = []
    for number, name in enumerate(names):
        row: dict[str, Any] = {"number": name, "mean absolute error": float(errors[number])}
        if number < len(spread):
            row["deviation in training episodes"] = spread[number]
        table.append(row)
    return Section("Each number", tables={"On held-out episodes, in the robot's units.": table})
