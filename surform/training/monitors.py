"""What callbacks watch must be there: known before training, not after the first epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer

if TYPE_CHECKING:
    from surform.training.task import Task

__all__ = ["check_monitors", "validates"]

_STAGE = "validation"


def check_monitors(trainer: Trainer, task: Task) -> None:
    """ValueError when a callback watches a figure of the validation split that none will log."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        watched = getattr(callback, "monitor", None)
        if not isinstance(watched, str) or not watched.startswith(f"{_STAGE}/"):
            continue
        where = f"{type(callback).__name__} watches {watched!r}"
        if not validates(trainer):
            raise ValueError(
                f"{where}, but the data have no validation split: give them one, or leave the "
                "callback out with --trainer.callbacks null"
            )
        logged = [task.metric_key(_STAGE, name) for name in task.figure_names()]
        if watched not in logged:
            raise ValueError(f"{where}, which is not logged: choose {', '.join(logged)}")


def validates(trainer: Trainer) -> bool:
    """Whether the data of a trainer have a validation split that it looks at."""
    if trainer.limit_val_batches == 0:
        return False
    data: Any = getattr(trainer, "datamodule", None)
    return data is None or data.val_dataloader() not in (None, [])
