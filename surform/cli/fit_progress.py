"""What a run says while it runs: a bar on a terminal, lines elsewhere, no noise."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["ProgressLines", "quiet", "show_bar", "table"]

_PATIENCE = 30.0  # seconds without a line

# Advice that does not apply here, by the beginning of its text.
_NOISE = (
    r".*does not have many workers",
    r".*It is recommended to use `self.log.*sync_dist=True",  # they are reduced already
    r".*callbacks used to create the checkpoint need to be provided",
    r".*ended before the epoch ended and your dataloader is not resumable",  # ours is, by step
    r".*is smaller than the logging interval",
    r".*module\(s\) in eval mode at the start of training",  # norms that keep their statistics
    r"Total length of `list` across ranks is zero",  # no validation split: asked for
    r".*Starting from v1.9.0, `tensorboardX`",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
    r".*exists and is not empty",
    r".*treespec, LeafSpec",
    r"Found \d+ module\(s\) in eval mode",  # frozen networks below adapters: meant so
    r"(?s).*was deprecated in v4.49.0",  # jsonargparse, of names that Lightning still calls
    r"(?s).*only one JsonargparseDeprecationWarning",
)


class ProgressLines(Callback):
    """A line on stderr after every validation, and whenever 30 s passed, where there is no bar."""

    def __init__(self) -> None:
        self._said = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._said = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._waited():
            self._say(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._waited():
            self._say(trainer, f"validation batch {batch_idx + 1}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        key = pl_module.metric_key("validation", pl_module.monitor)  # type: ignore[operator]
        found = trainer.callback_metrics
        self._say(trainer, f"{key} {float(found[key]):.4g}" if key in found else "")

    def _waited(self) -> bool:
        return time.monotonic() - self._said >= _PATIENCE

    def _say(self, trainer: Trainer, more: str = "") -> None:
        self._said = time.monotonic()
        if trainer.sanity_checking or trainer.progress_bar_callback or not trainer.is_global_zero:
            return
        found = trainer.callback_metrics
        steps = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
        parts = [f"epoch {trainer.current_epoch + 1}", f"step {trainer.global_step}{steps}"]
        if "train/loss" in found:
            parts.append(f"loss {float(found['train/loss']):.4g}")
        print(", ".join([*parts, *[more] * bool(more)]), file=sys.stderr, flush=True)


def quiet() -> None:
    """Silence Lightning's advertisements and advice; warnings that matter still come through."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in _NOISE:
        warnings.filterwarnings("ignore", text)


def show_bar() -> bool:
    """Whether a progress bar makes sense: stderr is a terminal."""
    return sys.stderr.isatty()


def table(figures: Mapping[str, float]) -> str:
    """Figures in aligned columns: name, value, protocol."""
    rows = [(*name.rsplit("/", 1), value) for name, value in figures.items() if "/" in name]
    width = max((len(name) for name, _, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value:<12.6g} {label}" for name, label, value in rows)
