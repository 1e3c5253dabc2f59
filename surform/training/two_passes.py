"""What the training loop does differently where an optimizer evaluates each batch twice."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer

from surform.training.sharded import Sharded
from surform.training.sharpness import SharpnessAware

__all__ = ["climbs", "in_second_pass", "prepare"]


def prepare(optimizer: Optimizer, module: LightningModule) -> None:
    """Tell a `SharpnessAware` optimizer what it trains; others are left alone.

    Raises:
        ValueError: the trainer cannot evaluate one batch twice, or its weights are in shards.
    """
    if isinstance(optimizer, SharpnessAware):
        _require_two_passes(module.trainer)
        optimizer.watch_buffers(module)


def in_second_pass(trainer: Trainer) -> bool:
    """Whether the weights are moved at present, so that the loss is not that of the model."""
    return any(isinstance(o, SharpnessAware) and o.perturbed for o in trainer.optimizers)


def climbs(optimizer: Optimizer) -> bool:
    """Whether the gradients only say where to move the weights: they are not to be clipped."""
    return isinstance(optimizer, SharpnessAware) and not optimizer.perturbed


def _require_two_passes(trainer: Trainer) -> None:
    precision: Any = trainer.precision_plugin
    if getattr(precision, "scaler", None) is not None:
        raise ValueError(
            "SharpnessAware evaluates each batch twice, which the loss scaling of precision "
            f"{trainer.precision} does not provide for: use bf16-mixed or 32-true"
        )
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    accumulates = any(isinstance(each, GradientAccumulationScheduler) for each in callbacks)
    if accumulates or trainer.accumulate_grad_batches != 1:
        raise ValueError(
            "SharpnessAware evaluates each batch twice, so gradients cannot be accumulated over "
            "batches: leave trainer.accumulate_grad_batches at 1 and raise data.batch_size"
        )
    strategy = trainer.strategy
    shards = isinstance(strategy, Sharded) or strategy.restore_checkpoint_after_setup
    if shards or strategy.handles_gradient_accumulation:
        raise ValueError(
            "SharpnessAware needs whole weights in every process, which the strategy "
            f"{type(strategy).__name__} does not keep: use ddp"
        )
