"""Predictions of the windows of a split as labelled arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.batches import FieldBatch
from surform.data.description import FieldsDescription

__all__ = ["labelled_windows"]


def labelled_windows(
    outputs: Tensor, batch: FieldBatch, about: FieldsDescription, labels: dict[str, Any]
) -> xr.Dataset:
    """Outputs `(B, [T,] *grid, C)` as a dataset, one variable per target.

    `trajectory` and `start` say which window a sample is, `time` counts from its last input frame
    and `valid_time` is the time of the data.

    Args:
        batch: its `target_coordinates` are the positions of the points.
        labels: what `FieldWindows.labels` says of the windows.
    """
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    values = outputs.cpu().numpy()
    coordinates: dict[str, Any] = {
        name: ("sample", labels[name]) for name in ("trajectory", "start") if name in labels
    }
    dims = ["sample"]
    if values.ndim == len(about.output_axes) + 3:
        dims.append("time")
        units = {"units": about.units.get("time", "1")}
        lead = (about.time_step or 1.0) * np.arange(1, values.shape[1] + 1)
        coordinates["time"] = ("time", lead, units | {"long_name": "time since the last input"})
        if "last_time" in labels:
            valid = labels["last_time"][:, None] + lead
            coordinates["valid_time"] = (("sample", "time"), valid, units)
    dims += about.output_axes
    for axis, points in zip(about.output_axes, batch.target_coordinates, strict=True):
        attributes = {
            "units": about.units.get(axis, "1"),
            "periodic": int(about.periodic.get(axis, False)),
        }
        coordinates[axis] = (axis, _positions(points, about.coordinates[axis]), attributes)
    data = {
        name: (dims, values[..., k], {"units": about.units.get(name, "1")})
        for k, name in enumerate(about.targets)
    }
    return xr.Dataset(data, coordinates)


def _positions(points: Tensor, trained: list[float]) -> np.ndarray:
    """Those of the batch; in full precision where they are those of training."""
    exact = torch.tensor(trained, dtype=torch.float64)
    found = points.double().cpu()
    same = found.shape == exact.shape and torch.allclose(found, exact, rtol=1e-6, atol=0)
    return (exact if same else found).numpy()
