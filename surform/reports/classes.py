"""What the report of a classifier's run shows: the confusion of classes, each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.reports.look import look
from surform.reports.page import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["class_sections", "confusion_figure"]

_NAMED = 30  # classes whose names stand beside the matrix
_ROWS = 30  # of the table of classes


def class_sections(
    classes: Sequence[str], profiles: Mapping[str, Any], samples: str
) -> list[Section]:
    """Sections of the report: what is taken for what, and how well each class is found.

    Args:
        classes: names, in the order of the logits.
        profiles: what `ClassTask.profile_batch` gives, averaged over the validation split.
        samples: what is classified, in the plural: "images".
    """
    if "confusion" in profiles:
        matrix = np.asarray(profiles["confusion"], dtype=float)
        found = _classes(classes, matrix.sum(1), np.diag(matrix), matrix.sum(0), samples)
        return [_confusion(classes, matrix, samples), found]
    if "class_share" in profiles:
        share, right = (np.asarray(profiles[name]) for name in ("class_share", "class_found"))
        return [_classes(classes, share, right, None, samples)]
    return []


def _confusion(classes: Sequence[str], matrix: np.ndarray, samples: str) -> Section:
    off = matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    np.fill_diagonal(off, 0)
    worst = sorted(np.argwhere(off > 0).tolist(), key=lambda pair: -off[pair[0], pair[1]])[:8]
    rows = [
        {
            "class": classes[true],
            "taken for": classes[found],
            f"share of its {samples}": f"{off[true, found]:.1%}",
        }
        for true, found in worst
    ]
    caption = "True class down, predicted class across; shares of each true class."
    tables = {"What is taken for what most often.": rows} if rows else {}
    return Section("Confusion", figures={caption: confusion_figure(matrix, classes)}, tables=tables)


def confusion_figure(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """A matrix of counts or shares, each row divided by its sum."""
    from matplotlib.figure import Figure

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    count = len(classes)
    side = min(9.0, 2.5 + 0.32 * count)
    with look():
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="equal")
        axes.grid(False)
        axes.set(xlabel="predicted", ylabel="true")
        if count <= _NAMED:
            axes.set_xticks(range(count), classes, rotation=60, ha="right", fontsize=7)
            axes.set_yticks(range(count), classes, fontsize=7)
        if count <= 12:
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.005:
                    color = "white" if share > 0.5 else "#1d2430"
                    text = f"{100 * share:.0f}"
                    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    return figure


def _classes(
    classes: Sequence[str],
    share: np.ndarray,
    right: np.ndarray,
    claimed: np.ndarray | None,
    samples: str,
) -> Section:
    """Recall of each class, the worst first; precision where it is known."""
    recall = np.where(share > 0, right / np.maximum(share, 1e-12), np.nan)
    order = np.argsort(np.nan_to_num(recall, nan=2.0))[:_ROWS]
    rows = []
    for place in order.tolist():
        row = {"class": classes[place], f"share of the {samples}": f"{share[place]:.1%}"}
        row["found (recall)"] = f"no {samples}" if share[place] == 0 else f"{recall[place]:.1%}"
        if claimed is not None:
            precise = right[place] / claimed[place] if claimed[place] else np.nan
            row["right where claimed (precision)"] = (
                "never claimed" if not claimed[place] else f"{precise:.1%}"
            )
        rows.append(row)
    what = f"the {len(rows)} worst" if len(rows) < len(classes) else "the worst first"
    return Section("Classes", tables={f"On the validation split, {what}.": rows})
