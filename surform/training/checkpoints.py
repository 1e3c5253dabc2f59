"""Checkpoints that are complete whenever the process ends: `last.ckpt` and `best.ckpt`."""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from surform.data.atomic import replacing
from surform.training.metrics import GREATER_IS_BETTER

__all__ = ["Checkpoints"]

_ASK = 16  # steps between two looks at the first process' clock: a GPU stands still meanwhile


class Checkpoints(Checkpoint):
    """Save `last.ckpt` at the end of every epoch and in between, and `best.ckpt` after validation.

    Files are written beside their place and renamed, so that a killed process leaves the previous
    checkpoint whole. In between they are written right after an optimizer step only: gradients that
    are still being accumulated are not stored. A run ends with a validation, wherever it ends.

    Args:
        folder: where the checkpoints lie; it may be set later, before training starts.
        every_n_steps: save after so many optimizer steps as well.
        every_minutes: and after so much time; 0 = never.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        every_n_steps: int | None = None,
        every_minutes: float = 10.0,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.folder = Path(folder) if folder else None
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.best_value = math.inf
        self.best_metrics: dict[str, float] = {}
        self.best_profiles: dict[str, dict[str, list[float]]] = {}
        self.best_step = -1
        self._step_before = -1
        self._last_time = time.monotonic()

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint, when there is one."""
        path = self.folder / "best.ckpt" if self.folder else None
        return path if path and path.is_file() else None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.max_steps or _ends_epochs(trainer):
            trainer.should_stop = True  # Lightning then validates, in epochs that count for it
        if trainer.should_stop and trainer.check_val_every_n_epoch:
            trainer.check_val_every_n_epoch = 1
        # After the last batch of an epoch validation may follow; on_train_epoch_end saves then.
        if trainer.global_step == self._step_before or trainer.is_last_batch:
            return
        counted = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        waited = time.monotonic() - self._last_time > 60 * self.every_minutes > 0
        if trainer.world_size > 1:  # clocks differ between processes; their decisions must not
            asked = trainer.global_step % _ASK == 0
            waited = asked and trainer.strategy.broadcast(waited)
        if (counted or waited) and not _validates_now(trainer, batch_idx):
            self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or (not trainer.training and trainer.state.fn != "fit"):
            return
        key = pl_module.metric_key("validation", pl_module.monitor)  # type: ignore[operator]
        if key not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[key])
        if not math.isfinite(value):
            warnings.warn(
                f"{key} is {value}, so it cannot choose the best weights (a target that is zero "
                "has no relative error): set model.monitor to rmse or loss",
                stacklevel=2,
            )
        if self._better(value, pl_module.monitor in GREATER_IS_BETTER):
            self.best_value = value
            self.best_step = trainer.global_step
            self.best_metrics = {
                name: float(figure)
                for name, figure in trainer.callback_metrics.items()
                if name.startswith("validation/")
            }
            self.best_profiles = dict(pl_module.profiles)  # type: ignore[arg-type]
            self._save(trainer, "best.ckpt")

    def _better(self, value: float, greater: bool) -> bool:
        if not math.isfinite(self.best_value):
            return True
        return value > self.best_value if greater else value < self.best_value

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_last(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_value": self.best_value,
            "best_metrics": self.best_metrics,
            "best_profiles": self.best_profiles,
            "best_step": self.best_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value = state_dict["best_value"]
        self.best_metrics = state_dict["best_metrics"]
        self.best_profiles = state_dict.get("best_profiles", {})
        self.best_step = state_dict["best_step"]

    def _save_last(self, trainer: Trainer) -> None:
        self._last_time = time.monotonic()
        self._save(trainer, "last.ckpt")

    def _save(self, trainer: Trainer, name: str) -> None:
        if self.folder is None:
            return
        if trainer.world_size > 1:  # every process takes part in collecting a sharded state
            shared = Path(trainer.strategy.broadcast(str(self.folder / f"{name}.partial")))
            trainer.save_checkpoint(shared)
            if trainer.is_global_zero:
                os.replace(shared, self.folder / name)
            return
        with replacing(self.folder / name) as partial:
            trainer.save_checkpoint(partial)


def _ends_epochs(trainer: Trainer) -> bool:
    return trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs


def _validates_now(trainer: Trainer, batch_idx: int) -> bool:
    every = trainer.val_check_batch
    return isinstance(every, int) and (batch_idx + 1) % every == 0
