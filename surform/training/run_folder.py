"""A run that explains itself: configuration, environment, data, and at the end model and report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from surform.data.atomic import remove_leftovers, replacing
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.environment import environment, peak_memory
from surform.training.logger import MetricsLogger
from surform.training.run_report import write_report

__all__ = ["RunFolder"]


class RunFolder(Callback):
    """Own the folder of a run.

    At the start: `config.yaml`, `environment.json`, `data.json`. During the run: `metrics.csv`
    and `checkpoints/`. At the end: `model/` (the best weights, ready for `surform.load_model`),
    `summary.json` (figures, time, memory) and `report.html`.

    Args:
        folder: the folder; with several processes that of the first one counts.
        title: heading of the report.
        report: whether to draw the report at the end.
    """

    def __init__(self, folder: str | Path, title: str = "", report: bool = True) -> None:
        self.folder = Path(folder)
        self.title = title
        self.report = report
        self._seconds = 0.0
        self._continued_at = 0
        self._began = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            self.folder = Path(trainer.strategy.broadcast(str(self.folder)))
        for part in [*trainer.callbacks, *trainer.loggers]:  # type: ignore[attr-defined]
            if isinstance(part, Checkpoints) and part.folder is None:
                part.folder = self.folder / "checkpoints"
            if isinstance(part, MetricsLogger) and part.folder is None:
                part.folder = self.folder

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._continued_at = checkpoint["global_step"]  # the trainer learns it after on_fit_start

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()
        if not trainer.is_global_zero:
            return
        for folder in (self.folder, self.folder / "checkpoints"):
            remove_leftovers(folder)  # of a run that was killed
        for logger in trainer.loggers:
            if isinstance(logger, MetricsLogger) and trainer.ckpt_path:
                logger.continue_from(self._continued_at)
        config = getattr(pl_module, "config", None)
        if config:
            self._write("config.yaml", yaml.safe_dump(config, sort_keys=False))
        self._write("environment.json", _json(environment()))
        description = getattr(pl_module.surrogate, "description", None)
        if description is not None:
            self._write("data.json", _json(description.to_dict()))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds += time.monotonic() - self._began
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        keeper = next((c for c in trainer.callbacks if isinstance(c, Checkpoints)), None)  # type: ignore[attr-defined]
        self._load_best(pl_module, keeper)
        figures = dict(keeper.best_metrics) if keeper else {}
        summary = {
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "best_step": keeper.best_step if keeper else None,
            "seconds": round(self._seconds, 3),
            "parameters": sum(p.numel() for p in pl_module.surrogate.net.parameters()),  # type: ignore[union-attr]
            "protocol": pl_module.protocol_of("validation"),  # type: ignore[operator]
            "metrics": figures,
            "profiles": keeper.best_profiles if keeper else pl_module.profiles,
        } | peak_memory()
        if spans := pl_module.loss_spans():  # type: ignore[operator]
            summary["loss_spans"] = spans
        self._write("summary.json", _json(summary))
        self._export(pl_module, figures)
        if self.report:
            write_report(self.folder, self.title, trainer, pl_module, summary)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds + time.monotonic() - self._began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict["seconds"]

    def _load_best(self, pl_module: LightningModule, keeper: Checkpoints | None) -> None:
        if keeper is None or keeper.best_path is None:
            return
        pl_module.load_state_dict(read_checkpoint(keeper.best_path)["state_dict"])

    def _export(self, pl_module: LightningModule, figures: dict[str, float]) -> None:
        surrogate: Any = pl_module.exported()  # type: ignore[operator]
        protocol = pl_module.protocol_of("validation")  # type: ignore[operator]
        surrogate.metrics = {name.removesuffix(f"/{protocol}"): v for name, v in figures.items()}
        surrogate.protocols = dict.fromkeys(surrogate.metrics, protocol)
        command = environment()["command"]
        surrogate.card = surrogate.card | {"command": command} | _title(self.title)
        surrogate.save_pretrained(self.folder / "model")

    def _write(self, name: str, text: str) -> None:
        with replacing(self.folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _json(values: Any) -> str:
    return json.dumps(values, indent=2, default=str) + "\n"


def _title(title: str) -> dict[str, str]:
    return {"title": title} if title else {}
