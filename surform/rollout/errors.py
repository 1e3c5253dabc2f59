"""How far a prediction is from the truth, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.description import FieldsDescription
from surform.rollout.observers import Observer, Quantity, VariableObserver, space

__all__ = [
    "RMSE",
    "VRMSE",
    "Correlation",
    "Mean",
    "Persistence",
    "RelativeL2",
    "correlation_time",
    "variance_scaled",
]


class RelativeL2(VariableObserver):
    """`|p - t| / |t|` over the grid."""

    metric = "relative_l2"
    needs_truth = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        error = torch.linalg.vector_norm(field - truth, dim=space(field))
        return error / torch.linalg.vector_norm(truth, dim=space(truth))


class RMSE(VariableObserver):
    """Root mean squared error over the grid, in the variable's units."""

    metric = "rmse"
    needs_truth = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        return (field - truth).square().mean(space(field)).sqrt()

    def units(self, units: str) -> str:
        return units


def variance_scaled(field: Tensor, truth: Tensor, dims: Sequence[int]) -> Tensor:
    """VRMSE over `dims`, the axes of space: `sqrt(MSE / (var + 1e-7))`, var of the truth, unbiased.

    As defined by The Well (Ohana et al. 2024, arXiv 2412.00568): predicting the mean gives 1.
    """
    dims = tuple(dims)
    error = (field - truth).square().mean(dims)
    return (error / (truth.var(dims) + 1e-7)).sqrt()


class VRMSE(VariableObserver):
    """RMSE over the truth's standard deviation, as The Well has it: see `variance_scaled`."""

    metric = "vrmse"
    needs_truth = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        return variance_scaled(field, truth, space(truth))


class Correlation(VariableObserver):
    """Pearson correlation of prediction and truth over the grid."""

    metric = "correlation"
    needs_truth = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        a = field - field.mean(space(field), keepdim=True)
        b = truth - truth.mean(space(truth), keepdim=True)
        norms = torch.linalg.vector_norm(a, dim=space(a)) * torch.linalg.vector_norm(
            b, dim=space(b)
        )
        return (a * b).sum(space(a)) / norms


class Mean(VariableObserver):
    """The mean over the grid and its drift since the last known frame.

    The drift of a conserved quantity (mass, momentum) on a uniform grid is zero.
    """

    metric = "mean"

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        return field.mean(space(field))

    def units(self, units: str) -> str:
        return units

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        means = super().measure(frame, truth)
        before = super().measure(self.initial, self.initial)
        drifts = {
            name.removesuffix("mean") + "drift": Quantity(
                quantity.values - before[name].values, quantity.units
            )
            for name, quantity in means.items()
        }
        return means | drifts


class Persistence(Observer):
    """The baseline to beat: another observer's numbers when the last known frame just stays.

    Persistence(RelativeL2()) gives `<variable>_relative_l2_persistence`.
    """

    needs_truth = True

    def __init__(self, observer: Observer) -> None:
        if not observer.needs_truth:
            raise ValueError(
                f"persistence is a baseline for errors; {type(observer).__name__} compares nothing"
            )
        self.observer = observer

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        super().start(grid, initial)
        self.observer.start(grid, initial)

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        still = self.observer.measure(self.initial, truth)
        return {f"{name}_persistence": quantity for name, quantity in still.items()}


def correlation_time(
    correlation: xr.DataArray,
    threshold: float = 0.9,
    blow_up_step: xr.DataArray | None = None,
) -> xr.DataArray:
    """When the correlation first falls below the threshold, in lead time.

    A run that has blown up counts as below from there on.

    Args:
        correlation: dims (..., "time") with the coordinate "lead_time" (or "time").
        threshold: usually 0.9 or 0.8.
        blow_up_step: of each run, -1 = none, as `rollout_to` gives it. Without it, a run whose
            numbers end before those of other runs has blown up.

    Returns:
        Lead time of the first frame below; infinity where that never happens.
    """
    lead = correlation["lead_time" if "lead_time" in correlation.coords else "time"]
    below = correlation < threshold
    if blow_up_step is None:
        known = correlation.notnull()
        below = below | (~known & known.any([d for d in known.dims if d != "time"]))
    else:
        step = xr.DataArray(np.arange(correlation.sizes["time"]), dims="time")
        below = below | ((blow_up_step >= 0) & (step >= blow_up_step))
    when = xr.where(below, lead, np.inf).min("time").rename("correlation_time")
    return when.assign_attrs(units=str(lead.attrs.get("units", "1")), threshold=threshold)
