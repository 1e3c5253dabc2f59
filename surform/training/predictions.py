"""Predictions of a whole split as one labelled file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from surform.data.atomic import replacing

__all__ = ["write_predictions"]


def write_predictions(path: str | Path, task: Any, batches: Sequence[torch.Tensor] | Any) -> Path:
    """Write outputs `(B, [T,] *grid, C)` with dims (sample, [time,] axes) to .zarr or .nc.

    Coordinates, names and units are those of the data that the model was given.
    """
    import xarray as xr

    path, description = Path(path), task.surrogate.description
    values = torch.cat([batch.float().cpu() for batch in batches]).numpy()
    coordinates: dict[str, Any] = {}
    dims = ["sample"]
    if values.ndim == len(description.axes) + 3:
        dims.append("time")
        step = description.time_step or 1.0
        coordinates["time"] = ("time", [step * (1 + k) for k in range(values.shape[1])])
    dims += description.axes
    for axis in description.axes:
        attributes = {
            "units": description.units.get(axis, "1"),
            "periodic": int(description.periodic.get(axis, False)),
        }
        coordinates[axis] = (axis, description.coordinates[axis], attributes)
    data = {
        name: (dims, values[..., k], {"units": description.units.get(name, "1")})
        for k, name in enumerate(description.targets)
    }
    dataset = xr.Dataset(data, coordinates)
    with replacing(path) as partial:
        if path.suffix in (".nc", ".h5"):
            dataset.to_netcdf(partial, engine="h5netcdf")
        else:
            dataset.to_zarr(partial, mode="w")
    return path
