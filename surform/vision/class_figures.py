"""What the report of a classifier's run shows: images, the confusion of classes, each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from surform.data.images_description import ImagesDescription
from surform.reports.look import COLORS, bare, look
from surform.reports.page import Section
from surform.training.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion_figure", "report_sections"]

_NAMED = 30  # classes whose names stand beside the matrix
_ROWS = 30  # of the table of classes
_COLUMNS = 8


def report_sections(
    about: ImagesDescription,
    images: Tensor,
    prediction: Prediction,
    profiles: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> list[Section]:
    """Sections of the report.

    Args:
        images: some of the validation split, (B, C, H, W).
        prediction: their logits and the probabilities of the classes.
        profiles: what `ClassificationTask.profile_batch` gives, averaged over the split.
        labels: "name" of each image.
    """
    sections = [_samples(about, images, prediction, labels)]
    if "confusion" in profiles:
        matrix = np.asarray(profiles["confusion"], dtype=float)
        sections.append(_confusion(about, matrix))
        sections.append(_classes(about, matrix.sum(1), np.diag(matrix), matrix.sum(0)))
    elif "class_share" in profiles:
        share, found = (np.asarray(profiles[name]) for name in ("class_share", "class_found"))
        sections.append(_classes(about, share, found, None))
    return sections


def _samples(
    about: ImagesDescription, images: Tensor, prediction: Prediction, labels: Mapping[str, Any]
) -> Section:
    from matplotlib.figure import Figure

    chances = torch.softmax(prediction.output.float(), -1).cpu().numpy()
    truth = prediction.target.argmax(-1).cpu().numpy()
    pictures = _pictures(images.detach().float().cpu().numpy())
    rows = -(-len(pictures) // _COLUMNS)
    with look():
        figure = Figure(figsize=(1.3 * _COLUMNS, 1.7 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for place, axes in enumerate(panels):
            bare(axes)
            if place >= len(pictures):
                continue
            found = int(chances[place].argmax())
            right = found == truth[place]
            axes.imshow(pictures[place], cmap="gray", vmin=0, vmax=1)
            title = f"{about.classes[found]}, {chances[place, found]:.0%}"
            title += "" if right else f"\nis {about.classes[truth[place]]}"
            axes.set_title(title, fontsize=7, color=COLORS["truth" if right else "error"])
    caption = "Validation images with the predicted class and its probability; red where wrong."
    names = ", ".join(map(str, labels.get("name", ())))
    return Section("Predictions", figures={f"{caption} {names}".strip(): figure})


def _pictures(images: np.ndarray) -> list[np.ndarray]:
    """What can be drawn, 0 to 1: three channels as colors, else the first one."""
    low, high = images.min(), images.max()
    scaled = (images - low) / max(high - low, 1e-12)
    return [x.transpose(1, 2, 0) if len(x) == 3 else x[0] for x in scaled]


def _confusion(about: ImagesDescription, matrix: np.ndarray) -> Section:
    off = matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    np.fill_diagonal(off, 0)
    worst = sorted(np.argwhere(off > 0).tolist(), key=lambda pair: -off[pair[0], pair[1]])[:8]
    rows = [
        {
            "class": about.classes[true],
            "taken for": about.classes[found],
            "share of its images": f"{off[true, found]:.1%}",
        }
        for true, found in worst
    ]
    caption = "True class down, predicted class across; shares of each true class."
    tables = {"What is taken for what most often.": rows} if rows else {}
    return Section(
        "Confusion", figures={caption: confusion_figure(matrix, about.classes)}, tables=tables
    )


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
    about: ImagesDescription, share: np.ndarray, right: np.ndarray, claimed: np.ndarray | None
) -> Section:
    """Recall of each class, the worst first; precision where it is known."""
    recall = np.where(share > 0, right / np.maximum(share, 1e-12), np.nan)
    order = np.argsort(np.nan_to_num(recall, nan=2.0))[:_ROWS]
    rows = []
    for place in order.tolist():
        row = {"class": about.classes[place], "share of the images": f"{share[place]:.1%}"}
        row["found (recall)"] = "no images" if share[place] == 0 else f"{recall[place]:.1%}"
        if claimed is not None:
            precise = right[place] / claimed[place] if claimed[place] else np.nan
            row["right where claimed (precision)"] = (
                "never claimed" if not claimed[place] else f"{precise:.1%}"
            )
        rows.append(row)
    what = f"the {len(rows)} worst" if len(rows) < len(about.classes) else "the worst first"
    return Section("Classes", tables={f"On the validation split, {what}.": rows})
