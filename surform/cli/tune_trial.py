"""One trial of a tuning: a run of `surform fit` that is watched, and how it ended."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from surform.cli.lightning_cli import train
from surform.cli.main import one_line
from surform.training.checkpoints import Checkpoints
from surform.training.monitors import validates

__all__ = ["StoppedError", "concerns_all", "free_memory", "reason", "run_trial"]


class StoppedError(Exception):
    """The trial is not worth going on with."""


class UntunableError(ValueError):
    """No trial of this recipe can have a figure."""


class Watch(Callback):
    """Hand on the figure of every validation.

    Args:
        stops: told the figure and how many there were, whether to stop.
    """

    def __init__(self, stops: Callable[[float, int], bool]) -> None:
        self.stops, self.seen, self.key = stops, 0, ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not validates(trainer):
            raise UntunableError(
                "the data have no validation split, so nothing tells a good trial from a bad one: "
                "give them one with --data.split"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.key = pl_module.metric_key("validation", pl_module.monitor)  # type: ignore[operator]
        figure = float(trainer.callback_metrics[self.key])
        if not math.isfinite(figure):
            raise ValueError(f"{self.key} became {figure} at step {trainer.global_step}")
        self.seen += 1
        if self.stops(figure, self.seen):
            raise StoppedError


def run_trial(
    config: dict[str, Any], folder: Path, title: str, stops: Callable[[float, int], bool]
) -> tuple[str, float]:
    """Train in a run folder; returns the name of the figure that decides, and its best value.

    Raises:
        StoppedError: `stops` said so.
        UntunableError: there is no figure, whatever is trained.
    """
    watch = Watch(stops)
    trainer = train(config, folder, title=title, report=False, lines=False, watchers=[watch])
    keeper = next(c for c in trainer.callbacks if isinstance(c, Checkpoints))  # type: ignore[attr-defined]
    if not watch.seen:
        raise UntunableError("training ended before the first validation")
    return watch.key, keeper.best_value


def concerns_all(error: BaseException) -> bool:
    """Whether an error is not the fault of a trial's values, but of the recipe or the machine."""
    mine = isinstance(error, Exception)  # not an interrupt
    return not mine or isinstance(error, (UntunableError, OSError, ImportError))


def reason(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    text = one_line(error)
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    if memory or "can't allocate memory" in text:
        return "out of memory"
    return text if len(text) <= 200 else f"{text[:199]}…"


def free_memory() -> None:
    """Give back what the trial before held: models and trainers refer to each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
