"""What the report of a classifier's run shows: images, and what all classifiers show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.images_description import ImagesDescription
from surform.reports.classes import class_sections
from surform.reports.look import COLORS, bare, look
from surform.reports.page import Section
from surform.training.prediction import Prediction

__all__ = ["report_sections"]

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
    return sections + class_sections(about.classes, profiles, "images")


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
