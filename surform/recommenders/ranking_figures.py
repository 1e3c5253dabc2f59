"""What the report of a ranker's run shows: calibration, attention, simple rankers beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.recommenders.hiformer import Hiformer
from surform.recommenders.ranker import Ranker
from surform.reports.look import COLORS, look
from surform.reports.page import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["attention_figure", "calibration_figure", "report_sections", "token_names"]

_MOST_ROWS = 16  # of tokens and heads that are drawn apart


def report_sections(
    ranker: Ranker,
    batch: InteractionsBatch,
    profiles: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> list[Section]:
    """Sections of the report.

    Args:
        batch: rows of the validation split.
        profiles: per label "calibration/number": (3, bins), see `calibration_table`.
        rows: figures of this ranker and of simple ones.
    """
    about = ranker.description
    if about is None:
        return []
    sections = []
    if rows:
        text = "On the validation split; the simple rankers are fitted to the training split."
        sections.append(Section("Beside simple rankers", tables={text: list(rows)}))
    tables = [np.asarray(profiles[n]) for n in sorted(profiles) if n.startswith("calibration/")]
    if tables:
        caption = (
            "Share of positives over the predicted probability, in bins of equal width, on the "
            "validation split; the area of a point is the number of its rows."
        )
        figure = calibration_figure(dict(zip(about.labels, tables, strict=True)))
        sections.append(Section("Calibration", figures={caption: figure}))
    if isinstance(ranker.net, Hiformer):
        caption = (
            f"Attention of the last layer, averaged over {len(batch)} rows of the validation "
            "split: how much each asking token takes from each token."
        )
        figure = attention_figure(ranker, batch)
        sections.append(Section("Interactions of features", figures={caption: figure}))
    return sections


def calibration_figure(tables: Mapping[str, np.ndarray]) -> Figure:
    """Per label (3, bins): counts, mean probabilities, shares of positives."""
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(4.4, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=COLORS["truth"], linewidth=1)
        for name, (count, mean, share) in tables.items():
            filled = count > 0
            area = 120 * count[filled] / count.max() + 4
            axes.plot(mean[filled], share[filled], linewidth=1, label=name)
            axes.scatter(mean[filled], share[filled], s=area, alpha=0.7)
        axes.set(xlabel="predicted probability", ylabel="share of positives", xlim=(0, 1))
        axes.set(ylim=(0, 1))
        if len(tables) > 1:
            axes.legend()
    return figure


def attention_figure(ranker: Ranker, batch: InteractionsBatch) -> Figure:
    """Rows: tokens that ask in the last layer, by head where they are few; columns: all tokens."""
    from matplotlib.figure import Figure

    maps = mean_attention(ranker, batch)
    assert ranker.description is not None
    assert isinstance(ranker.net, Hiformer)
    names = token_names(ranker.description, ranker.net)
    asking = names[-maps.shape[1] :]
    if maps.shape[0] * maps.shape[1] <= _MOST_ROWS:
        weights = maps.swapaxes(0, 1).reshape(-1, maps.shape[2])
        asking = [f"{name}, head {h + 1}" for name in asking for h in range(len(maps))]
    else:
        weights = maps.mean(0)
    with look():
        size = (2.4 + 0.42 * len(names), 1.4 + 0.34 * len(asking))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(weights, cmap="viridis", vmin=0, aspect="auto")
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axes.set_yticks(range(len(asking)), asking)
        axes.grid(False)
        figure.colorbar(image, ax=axes, label="share")
    return figure


@torch.no_grad()
def mean_attention(ranker: Ranker, batch: InteractionsBatch) -> np.ndarray:
    """(heads, asking tokens, tokens) of the last layer, averaged over rows."""
    assert isinstance(ranker.net, Hiformer)
    inputs = batch.inputs()
    if ranker.dense is not None:
        inputs["dense"] = ranker.dense.normalize(inputs["dense"]).to(inputs["dense"].dtype)
    maps = ranker.net.forward_with_attention(**inputs)[1]
    return maps[-1].float().mean(0).cpu().numpy()


def token_names(about: InteractionsDescription, net: Hiformer) -> list[str]:
    """What the tokens of a Hiformer stand for, in their order."""
    count = net.features.dense_tokens
    numbers = [f"numbers {i + 1}" for i in range(count)] if count > 1 else ["numbers"] * count
    tasks = [f"task {name}" for name in about.labels]
    return [*about.categorical, *about.multivalued, *numbers, *tasks]
