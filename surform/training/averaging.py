"""Exponential moving average of the weights: evaluated, stored and exported in their place."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from surform.training.shards import gathered, like

__all__ = ["ExponentialAverage"]

_RAW = "training_weights"


class ExponentialAverage(Callback):
    """Keep `average = decay * average + (1 - decay) * weights` after every optimizer step.

    The average replaces the weights during validation and when training ends; in checkpoints
    `state_dict` holds the average (so that everything that loads one gets it), and
    `training_weights` what training continues from.

    Args:
        decay: between 0 and 1; the average looks back about 1 / (1 - decay) steps.
        warm: look back less at first: the decay after step n is at most (1 + n) / (10 + n).
    """

    def __init__(self, decay: float = 0.999, warm: bool = False) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"the decay of an average must lie between 0 and 1, got {decay}")
        self.decay, self.warm = decay, warm
        self._average: dict[str, Tensor] = {}
        self._last_step = 0
        self._swapped = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._average:
            self._average = {n: p.detach().clone() for n, p in _trained(pl_module).items()}
            return
        weights = _trained(pl_module)
        self._average = {n: like(t, weights[n]) for n, t in self._average.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._last_step:  # gradients are still being accumulated
            return
        self._last_step = trainer.global_step
        decay = self.decay
        if self.warm:
            decay = min(decay, (1 + trainer.global_step) / (10 + trainer.global_step))
        with torch.no_grad():
            for name, weight in _trained(pl_module).items():
                self._average[name].lerp_(weight, 1 - decay)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._average and not self._swapped:
            self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._swapped:
            self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._average or self._swapped:
            return
        state = checkpoint["state_dict"]
        checkpoint[_RAW] = {name: state[name] for name in self._average}
        checkpoint["state_dict"] = state | gathered(self._average, trainer.is_global_zero)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        raw = checkpoint.get(_RAW)
        if raw is None or not trainer.training:
            return
        self._average = {name: checkpoint["state_dict"][name].clone() for name in raw}
        with torch.no_grad():
            for name, weight in _trained(pl_module).items():
                weight.copy_(raw[name])

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._last_step = state_dict["last_step"]

    def _swap(self, pl_module: LightningModule) -> None:
        with torch.no_grad():
            for name, weight in _trained(pl_module).items():
                held = weight.clone()
                weight.copy_(self._average[name])
                self._average[name].copy_(held)
        self._swapped = not self._swapped


def _trained(module: LightningModule) -> dict[str, Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
