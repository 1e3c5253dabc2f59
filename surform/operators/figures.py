"""Pictures of predicted fields beside the true ones, for the report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription
from surform.reports.panels import fields
from surform.reports.plots import labelled
from surform.training.prediction import Prediction

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["prediction_figures"]


def prediction_figures(
    about: FieldsDescription, batch: FieldBatch, prediction: Prediction, samples: int = 2
) -> dict[str, Figure]:
    """The targets of the first windows, predicted and true, by caption."""
    figures = {}
    for sample in range(min(samples, len(prediction.output))):
        for channel, name in enumerate(about.targets):
            output, target = (
                _label(tensor[sample, ..., channel], name, about, batch.target_coordinates)
                for tensor in (prediction.output, prediction.target)
            )
            caption = f"{name}, validation window {int(batch.index[sample])}"
            figures[caption] = fields(output, target, times=4)
    return figures


def _label(
    values: Tensor, name: str, about: FieldsDescription, points: tuple[Tensor, ...]
) -> xr.DataArray:
    axes: dict[str, Any] = {}
    if values.ndim == len(about.output_axes) + 1:
        step = about.time_step or 1.0
        axes["time"] = [step * (1 + k) for k in range(values.shape[0])]
    axes |= {
        axis: positions.cpu().numpy()
        for axis, positions in zip(about.output_axes, points, strict=True)
    }
    return labelled(values.float().cpu().numpy(), name, axes, about.units.get(name, "1"))
