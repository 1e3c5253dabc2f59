"""What the report of an agent's run shows: regret over the rounds, beside the algorithms'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.decisions_description import DecisionsDescription
from surform.reports.page import Section
from surform.reports.plots import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curve_figure", "report_sections"]

_SPOKEN = {
    "agent": "the agent",
    "greedy": "the agent, greedy",
    "thompson": "Thompson sampling",
    "linucb": "LinUCB",
    "ucb": "UCB",
    "ucb_vi": "UCB-VI",
    "empirical_mean": "empirical mean",
    "optimal": "the best policy",
}
_OFF_SCALE = 3.0  # times the agent's end: further curves are only told in the table


def report_sections(
    profiles: Mapping[str, Any], count: int, about: DecisionsDescription | None
) -> list[Section]:
    """Sections of the report.

    Args:
        profiles: per name (n, 2): mean over worlds of a curve, and of its square.
        count: worlds.
        about: the worlds.
    """
    if not profiles or about is None:
        return []
    rows = []
    for name, values in profiles.items():
        mean, error = _moments(values, count)
        rows.append(
            {"who": _SPOKEN.get(name, name),
             about.setting.curve: mean[-1], "standard error": error[-1]}
        )  # fmt: skip
    rows.sort(key=lambda row: row[about.setting.curve])
    caption = (
        f"Mean over {count} validation worlds and its standard error; every player has the same "
        "luck."
    )
    return [
        Section(
            about.setting.curve.capitalize(),
            figures={caption: curve_figure(profiles, count, about.setting.curve)},
            tables={f"After {len(np.asarray(next(iter(profiles.values()))))} steps.": rows},
        )
    ]


def curve_figure(profiles: Mapping[str, Any], count: int, what: str) -> Figure:
    """Mean +- standard error of every curve; those far above the agent's are cut off."""
    own = _moments(profiles["agent"], count)[0][-1] if "agent" in profiles else np.inf
    lines, bands = {}, {}
    for name, values in profiles.items():
        mean, error = _moments(values, count)
        if mean[-1] > _OFF_SCALE * own:
            continue
        steps = np.arange(1, len(mean) + 1)
        label = _SPOKEN.get(name, name)
        lines[label] = (steps, mean)
        bands[label] = (mean - error, mean + error)
    return curves(lines, xlabel="steps", ylabel=what, bands=bands, size=(7.2, 3.6))


def _moments(values: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error, from the means of values and squares."""
    mean, square = np.asarray(values, dtype=float).T
    variance = np.maximum(square - mean**2, 0) * count / max(count - 1, 1)
    return mean, np.sqrt(variance / max(count, 1))
