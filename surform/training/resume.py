"""Continue a run exactly where its checkpoint was written, or say why that is impossible."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["ExactResume"]


class ExactResume(Callback):
    """Start the data where the checkpoint stopped, and refuse what would not continue the run.

    The data module's `resume_at(epoch, batch)` makes the next pass over the training data begin
    in the middle; the order itself is a function of (seed, epoch, batch).

    Args:
        override: accept another number of processes or other data than those of the checkpoint,
            and take learning rate, weight decay and the like from the present configuration.
    """

    def __init__(self, override: bool = False) -> None:
        self.override = override

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":
            return
        stored = checkpoint["surform_config"]
        if not self.override:
            _same("processes", stored["world_size"], trainer.world_size)
            _same("data fingerprint", _fingerprint(stored["description"]), _own(pl_module))
        epoch, batch = position(checkpoint)
        # Where training is counted in steps, Lightning would go through the end of an epoch that is
        # complete once more, and count a batch that was never seen.
        trainer.fit_loop._iteration_based_training = lambda: False
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "resume_at"):
            data.resume_at(epoch, batch)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.override and trainer.ckpt_path:
            _renew_options(trainer, pl_module)


def _renew_options(trainer: Trainer, pl_module: LightningModule) -> None:
    """Give the optimizer the options of now: the checkpoint restored those it was written with."""
    fresh: Any = pl_module.configure_optimizers()
    for group, new in zip(
        trainer.optimizers[0].param_groups, fresh["optimizer"].param_groups, strict=True
    ):
        group.update({name: value for name, value in new.items() if name != "params"})
    scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
    scheduler.base_lrs = fresh["lr_scheduler"]["scheduler"].base_lrs
    scheduler.last_epoch -= 1  # the last step once more, for the learning rate of this one
    scheduler._step_count -= 1
    scheduler.step()


def position(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """(epoch, batch) of the first training batch after a checkpoint."""
    loop = checkpoint["loops"]["fit_loop"]
    batches, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]["current"]
    begun = epochs["ready"]  # epochs begun, the present one included
    if batches["is_last_batch"] or epochs["processed"] == begun:
        return begun, 0
    return begun - 1, batches["current"]["processed"]


def _fingerprint(description: dict[str, Any] | None) -> str | None:
    return (description or {}).get("source", {}).get("fingerprint")


def _own(pl_module: LightningModule) -> str | None:
    description: Any = getattr(pl_module.surrogate, "description", None)
    return None if description is None else description.source.get("fingerprint")


def _same(what: str, stored: Any, given: Any) -> None:
    if stored is not None and given is not None and stored != given:
        raise ValueError(
            f"the checkpoint was written with {what} {stored}, this run has {given}: "
            "use the same, or continue inexactly with --override"
        )
