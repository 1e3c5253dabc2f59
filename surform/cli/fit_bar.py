"""The bar of a training on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

__all__ = ["TrainingBar", "with_bar"]


class TrainingBar(RichProgressBar):
    """Lightning's bar over epochs; over all steps where these, not epochs, end the training."""

    @property
    def total_train_batches(self) -> int | float:
        return self.trainer.max_steps if self._by_steps else super().total_train_batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = trainer.global_step - 1 if self._by_steps else batch_idx
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done)

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning's own says "Epoch 0/-2" where max_epochs is -1.
        if self.trainer.max_epochs not in (None, -1):
            return super()._get_train_description(current_epoch)
        name = "Steps" if self._by_steps else f"Epoch {current_epoch}"
        return name.ljust(len(self.validation_description))

    @property
    def _by_steps(self) -> bool:
        return self.trainer.max_epochs in (None, -1) and self.trainer.max_steps > 0


def with_bar(config: Mapping[str, Any], callbacks: list[Any]) -> list[Any]:
    """These callbacks and a bar, where the trainer's configuration wants one and brings none."""
    given = config.get("callbacks") or []
    given = given if isinstance(given, list) else [given]
    brings = any(isinstance(callback, ProgressBar) for callback in [*given, *callbacks])
    wanted = config.get("enable_progress_bar") and not brings
    return [*callbacks, TrainingBar()] if wanted else callbacks
