"""Predictions of a whole split as one labelled file, written as they come."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surform.data.atomic import replacing, writer_lock
from surform.data.outputs import check_store
from surform.data.solvers.store import consolidate

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
        windows = getattr(trainer.predict_dataloaders, "dataset", None)
        label = getattr(windows, "labels", None)
        labels = label(batch.index) if label is not None else {}
        dataset: xr.Dataset = pl_module.label_predictions(outputs, batch, labels)  # type: ignore[operator]
        dataset.attrs = _provenance(trainer, pl_module)
        mode = {"append_dim": "sample"} if self._begun else {"mode": "w"}
        dataset.to_zarr(self._partial, consolidated=False, **mode)  # type: ignore[call-overload]
        self._begun = True

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._partial is not None and self._begun:
            consolidate(self._partial)
        self._stack.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stack.__exit__(type(exception), exception, None)


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
