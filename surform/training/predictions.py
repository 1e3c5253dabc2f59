"""Predictions of a whole split as one labelled file, written as they come."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import zarr
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surform.data.atomic import replacing, writer_lock
from surform.data.outputs import check_store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MADE_BY", "PredictionWriter"]

MADE_BY = "surform predict"


class PredictionWriter(Callback):
    """Write the outputs of `trainer.predict` to a Zarr store, with names, units and coordinates.

    Dimensions are (sample, [time,] axes), one sample per window: `trajectory` and `start` say
    which, `time` counts from its last input frame and `valid_time` is the time of the data. The
    store appears when the last batch is in it, and memory does not grow with the number of batches.

    Args:
        path: a `.zarr` folder; earlier predictions there are replaced, other stores refused.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix != ".zarr":
            raise ValueError(f"predictions are written to a .zarr folder, not to {self.path}")
        self._stack = ExitStack()
        self._partial: Path | None = None
        self._begun = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        names = ("path", "validation_path", "test_path")
        sources = [getattr(data, name, None) for name in names]
        check_store(self.path, sources, MADE_BY, "a set of predictions")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            raise ValueError("predict runs in one process: use --trainer.devices 1")
        self._stack.enter_context(writer_lock(self.path))
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
        windows = getattr(trainer.predict_dataloaders, "dataset", None)
        label = getattr(windows, "labels", None)
        labels = label(batch.index) if label is not None else {}
        dataset = labelled_batch(outputs, batch, description, labels)
        dataset.attrs = _provenance(trainer, pl_module)
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


def labelled_batch(
    outputs: Tensor, batch: Any, description: Any, labels: dict[str, Any]
) -> xr.Dataset:
    """Outputs `(B, [T,] *grid, C)` as a dataset, one variable per target.

    Args:
        batch: its `target_coordinates` are the positions of the points.
        labels: what `FieldWindows.labels` says of the windows.
    """
    import numpy as np
    import xarray as xr

    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    values = outputs.cpu().numpy()
    coordinates: dict[str, Any] = {
        name: ("sample", labels[name]) for name in ("trajectory", "start") if name in labels
    }
    dims = ["sample"]
    if values.ndim == len(description.output_axes) + 3:
        dims.append("time")
        units = {"units": description.units.get("time", "1")}
        lead = (description.time_step or 1.0) * np.arange(1, values.shape[1] + 1)
        coordinates["time"] = ("time", lead, units | {"long_name": "time since the last input"})
        if "last_time" in labels:
            valid = labels["last_time"][:, None] + lead
            coordinates["valid_time"] = (("sample", "time"), valid, units)
    dims += description.output_axes
    for axis, points in zip(description.output_axes, batch.target_coordinates, strict=True):
        attributes = {
            "units": description.units.get(axis, "1"),
            "periodic": int(description.periodic.get(axis, False)),
        }
        coordinates[axis] = (axis, _positions(points, description.coordinates[axis]), attributes)
    data = {
        name: (dims, values[..., k], {"units": description.units.get(name, "1")})
        for k, name in enumerate(description.targets)
    }
    return xr.Dataset(data, coordinates)


def _positions(points: Tensor, trained: list[float]) -> Any:
    """Those of the batch; in full precision where they are those of training."""
    exact = torch.tensor(trained, dtype=torch.float64)
    found = points.double().cpu()
    same = found.shape == exact.shape and torch.allclose(found, exact, rtol=1e-6, atol=0)
    return (exact if same else found).numpy()


def _provenance(trainer: Trainer, module: LightningModule) -> dict[str, str]:
    from surform import __version__

    data = getattr(trainer, "datamodule", None)
    return {
        "made_by": MADE_BY,
        "title": f"predictions of {type(module.surrogate.net).__name__}",  # type: ignore[union-attr]
        "surform_version": __version__,
        "checkpoint": str(trainer.ckpt_path or ""),
        "data": str(getattr(data, "test_path", None) or getattr(data, "path", "")),
    }
