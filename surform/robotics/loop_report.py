"""The page that a closed loop ends with: success by task, how long, and what it looked like."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.reports import Number, Page
from surform.reports.look import COLORS, look
from surform.robotics.evaluation import Episode, Evaluation
from surform.robotics.films import contact_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loop_report", "sheet_of", "success_figure"]

_FILMS_SIZE = 8 * 2**20  # bytes of films inside a page


def loop_report(
    path: str | os.PathLike[str],
    found: Evaluation,
    title: str,
    details: Mapping[str, Any],
    films: Path | None = None,
) -> Path:
    """Write the page; returns its path.

    Args:
        title: of the page.
        details: how it was made.
        films: the folder with the films of the episodes, which are put into the page.
    """
    all_of_it = found.summary()
    page = Page(title, f"closed loop in `{found.settings.get('environment', '')}`")
    page.headline(_numbers(found, all_of_it))
    page.section("Success", _success_text(found)).table(_cells(found))
    if len(found.tasks) > 1 and all_of_it["success rate"] == all_of_it["success rate"]:
        page.figure(success_figure(found), "Share of successes by task, with 95 % intervals.")
    page.section("Length").figure(_lengths(found), "Steps of the episodes, by how they ended.")
    if found.strips:
        text = "Moments of filmed episodes, from the first to the last; framed green: success."
        page.section("Episodes").figure(sheet_of(found), text)
        if films is not None:
            page.html(_films(found, films))
    page.section("How it was made").table({**details, **_told(found.settings)})
    return page.write(path)


def success_figure(found: Evaluation) -> Figure:
    """Rate of success of each task, with its interval."""
    from matplotlib.figure import Figure

    tasks = found.tasks
    rows = [found.summary(task) for task in tasks]
    rates = np.array([row["success rate"] for row in rows])
    bounds = np.array([[row["low"], row["high"]] for row in rows])
    off = np.abs(bounds - rates[:, None]).T
    with look():
        figure = Figure(figsize=(9.6, 0.34 * len(tasks) + 1.0), layout="constrained")
        axes = figure.subplots()
        axes.barh(tasks, rates, xerr=off, color=COLORS["prediction"], height=0.6,
                  error_kw={"ecolor": "#5b6472", "capsize": 3, "linewidth": 1.1})  # fmt: skip
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="success rate")
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
    return figure


def sheet_of(found: Evaluation) -> bytes:
    """A PNG of the filmed episodes."""
    strips = []
    for place, pictures in sorted(found.strips.items()):
        episode = found.episodes[place]
        strips.append((_title(episode), episode.success, pictures))
    return contact_sheet(strips)


def _numbers(found: Evaluation, row: Mapping[str, Any]) -> list[Number]:
    numbers = []
    if row["success rate"] == row["success rate"]:
        note = f"95 %: {row['low']:.2f} to {row['high']:.2f}, {row['episodes']} episodes"
        numbers.append(Number("success rate", row["success rate"], note))
    numbers.append(Number("mean steps", row["mean steps"]))
    numbers.append(Number("mean return", row["mean return"]))
    if row["mean coverage"] == row["mean coverage"]:
        numbers.append(Number("mean largest coverage", row["mean coverage"]))
    restarts = sum(episode.restarts for episode in found.episodes)
    if restarts:
        numbers.append(Number("restarted episodes", restarts, "their process failed", good=False))
    return numbers


def _success_text(found: Evaluation) -> str:
    if all(episode.success is None for episode in found.episodes):
        return "The environment does not tell success: there are returns and lengths only."
    clipped = np.mean([episode.clipped for episode in found.episodes])
    told = "Episodes end with their success; returns are counted up to there."
    if clipped > 0:
        told += f" {100 * clipped:.2g} % of the actions' numbers were beyond the bounds, and cut."
    return told


def _cells(found: Evaluation) -> list[dict[str, Any]]:
    kept = []
    for row in found.rows():
        kept.append({name: value for name, value in row.items() if value == value})
    return kept


def _lengths(found: Evaluation) -> Figure:
    from matplotlib.figure import Figure

    endings = list(dict.fromkeys(episode.ended for episode in found.episodes))
    colors = {"success": "#1c7f4f", "terminated": "#b08a3c", "truncated": "#b3372f"}
    lengths = [[e.steps for e in found.episodes if e.ended == ending] for ending in endings]
    most = max(episode.steps for episode in found.episodes)
    with look():
        figure = Figure(figsize=(9.6, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.hist(lengths, np.linspace(0, most + 1, 31).tolist(), stacked=True, label=endings,
                  color=[colors.get(ending, "#8a8f98") for ending in endings])  # fmt: skip
        axes.set(xlabel="steps", ylabel="episodes")
        axes.set_axisbelow(True)
        axes.legend()
    return figure


def _films(found: Evaluation, folder: Path) -> str:
    """The films that fit, as HTML that carries them."""
    parts, left = [], _FILMS_SIZE
    for place in sorted(found.strips):
        episode = found.episodes[place]
        file = folder / (episode.film or "")
        if not file.is_file() or file.stat().st_size > left:
            continue
        left -= file.stat().st_size
        kind = "video/mp4" if file.suffix == ".mp4" else "image/gif"
        url = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
        shown = (
            f'<video src="{url}" controls muted loop playsinline width="240"></video>'
            if file.suffix == ".mp4"
            else f'<img src="{url}" alt="{escape(_title(episode), quote=True)}" width="240">'
        )
        parts.append(
            '<figure style="display:inline-block;margin:0 12px 12px 0">'
            f"{shown}<figcaption>{escape(_title(episode))}</figcaption></figure>"
        )
    return "".join(parts)


def _title(episode: Episode) -> str:
    name = f"{episode.task}, seed {episode.seed}" if episode.task else f"seed {episode.seed}"
    return f"{name}: {episode.ended} after {episode.steps} steps"


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in settings.items() if value not in (None, {}, "")}
    return {name: str(v) if isinstance(v, dict) else v for name, v in known.items()}
