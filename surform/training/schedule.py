"""What a learning-rate schedule is: a plain description that builds torch's scheduler for a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["STATE", "EpochSchedule", "Schedule"]

# What a scheduler's checkpoint holds. Everything else follows from the configuration, so that a
# deliberately changed number of steps takes effect when a run resumes.
STATE = ("last_epoch", "_step_count", "_last_lr")


class Schedule(ABC):
    """How the learning rate moves over a run of known length."""

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """The scheduler for `optimizer`, to be stepped `total_steps` times."""


class EpochSchedule(Schedule):
    """A schedule of whole epochs: one learning rate per pass over the training data.

    A subclass gives `rate`; the task says how many optimizer steps an epoch has.
    """

    @abstractmethod
    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        """The learning rate during `epoch` = 0 .. epochs-1, where the optimizer was given `lr`."""

    def warm(self, step: int) -> float:
        """What is multiplied with the rate at an optimizer step, counted from 0."""
        return 1.0

    def build(
        self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int | None = None
    ) -> LRScheduler:
        """As for every schedule; a last epoch that `total_steps` cuts short counts as one.

        Raises:
            ValueError: `steps_per_epoch` is missing or not positive.
        """
        if steps_per_epoch is None or steps_per_epoch < 1:
            raise ValueError(
                f"{type(self).__name__} changes with the epoch: steps_per_epoch must be a whole "
                f"number >= 1, got {steps_per_epoch}"
            )
        return _EpochLR(optimizer, self, steps_per_epoch, -(-total_steps // steps_per_epoch))


class _EpochLR(LRScheduler):
    """Stepped per optimizer step like every scheduler here; `last_epoch` counts steps."""

    def __init__(
        self, optimizer: Optimizer, schedule: EpochSchedule, steps: int, epochs: int
    ) -> None:
        self.schedule, self.steps, self.epochs = schedule, steps, epochs
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        epoch = min(self.last_epoch // self.steps, self.epochs - 1)
        warm = self.schedule.warm(self.last_epoch)
        return [warm * self.schedule.rate(float(lr), epoch, self.epochs) for lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*STATE, "base_lrs")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update(state_dict)
