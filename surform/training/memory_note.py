"""Say what a run takes in memory before it starts."""

from __future__ import annotations

import sys

from lightning.pytorch import Callback, LightningModule, Trainer

from surform.training.memory import measure_memory

__all__ = ["MemoryNote", "OnlyCheckedError"]


class OnlyCheckedError(Exception):
    """Everything is in place, and nobody asked for more."""


class MemoryNote(Callback):
    """One line on stderr, and one more where memory will not do. Nothing is refused.

    Args:
        only: stop there, with `OnlyCheckedError`.
    """

    def __init__(self, only: bool = False) -> None:
        self.only = only

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = measure_memory(trainer, pl_module)
        if found is not None and trainer.is_global_zero:
            for line in filter(None, (found.text(), found.warning())):
                print(line, file=sys.stderr, flush=True)
        if self.only:
            raise OnlyCheckedError
