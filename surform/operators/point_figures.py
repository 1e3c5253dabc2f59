"""Pictures of predictions on meshes beside the truth, for the report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.points import PointBatch
from surform.data.points_description import PointsDescription
from surform.reports.meshes import at_points
from surform.training.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["prediction_figures"]


def prediction_figures(
    about: PointsDescription,
    batch: PointBatch,
    prediction: Prediction,
    labels: dict[str, Any],
    samples: int = 3,
) -> dict[str, Figure]:
    """Every target of the first samples: truth, prediction and difference, by caption.

    Args:
        labels: "place" says where the samples come from.
    """
    figures = {}
    dimensions = min(len(about.coordinates), 3)
    for sample in range(min(samples, len(batch))):
        keep = batch.mask[sample]
        points = _array(batch.points[sample][keep][:, :dimensions])
        place = labels["place"][sample] if labels else f"sample {int(batch.index[sample])}"
        for channel, name in enumerate(about.targets):
            output, target = (
                _array(values[sample, ..., channel][keep])
                for values in (prediction.output, prediction.target)
            )
            unit = about.unit(name)
            size = np.linalg.norm(target)
            error = np.linalg.norm(output - target) / size if size else float("nan")
            figures[f"{name} of {place}: relative L2 {error:.3g} at {len(points):,} points"] = (
                at_points(
                    points,
                    output,
                    target,
                    label=f"{name} [{unit}]" if unit not in (None, "", "1") else name,
                    axes=about.coordinates,
                )
            )
    return figures


def _array(values: Any) -> np.ndarray:
    return values.double().cpu().numpy()
