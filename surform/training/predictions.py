"""Predictions of a whole split as one labelled file, written as they come."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surform.data.atomic import replacing

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PredictionWriter"]


class PredictionWriter(Callback):
    """Write the outputs of `trainer.predict` to a Zarr store, with names, units and coordinates.

    Dimensions are (sample, [time,] axes); the store appears when the last batch is in it, and
    memory does not grow with the number of batches.

    Args:
        path: a `.zarr` folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix != ".zarr":
            raise ValueError(f"predictions are written to a .zarr folder, not to {self.path}")
        self._stack = ExitStack()
        self._partial: Path | None = None
        self._begun = False

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            raise ValueError("predict runs in one process: use --trainer.devices 1")
        self._partial = self._stack.enter_context(replacing(self.path))
        self._begun = False

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        description = pl_module.surrogate.description  # type: ignore[union-attr]
        dataset = labelled_batch(outputs, description)
        mode = {"append_dim": "sample"} if self._begun else {"mode": "w"}
        dataset.to_zarr(self._partial, consolidated=False, **mode)  # type: ignore[call-overload]
        self._begun = True

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._partial is not None and self._begun:
            with warnings.catch_warnings():  # of zarr, about what xarray asks for when it opens
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(self._partial)
        self._stack.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stack.__exit__(type(exception), exception, None)


def labelled_batch(outputs: Tensor, description: Any) -> xr.Dataset:
    """Outputs `(B, [T,] *grid, C)` as a dataset, one variable per target."""
    import xarray as xr

    values = outputs.float().cpu().numpy()
    coordinates: dict[str, Any] = {}
    dims = ["sample"]
    if values.ndim == len(description.output_axes) + 3:
        dims.append("time")
        step = description.time_step or 1.0
        units = {"units": description.units.get("time", "1")}
        coordinates["time"] = ("time", [step * (1 + k) for k in range(values.shape[1])], units)
    dims += description.output_axes
    for axis in description.output_axes:
        attributes = {
            "units": description.units.get(axis, "1"),
            "periodic": int(description.periodic.get(axis, False)),
        }
        coordinates[axis] = (axis, description.coordinates[axis], attributes)
    data = {
        name: (dims, values[..., k], {"units": description.units.get(name, "1")})
        for k, name in enumerate(description.targets)
    }
    return xr.Dataset(data, coordinates)
