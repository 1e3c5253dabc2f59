"""The report of a finished run: figures, loss curves, and what its domain has to show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lightning.pytorch import Trainer

from surform.layers.evaluating import evaluating
from surform.training.environment import environment
from surform.training.metrics import SPOKEN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from surform.reports import Section
    from surform.training.task import Task

__all__ = ["write_report"]


_ABOUT = (
    "Figures are those of the best weights on the whole validation split; the model in the folder "
    "`model` holds these weights with their normalisation."
)


def write_report(
    folder: Path, title: str, trainer: Trainer, task: Task, summary: dict[str, Any]
) -> Path:
    """Write `report.html` into the run folder, and its pictures into `plots/`."""
    from surform.reports import Number, fit_report

    sections = _sections(trainer, task)
    pictures = (figure for section in sections for figure in section.figures.values())
    for number, figure in enumerate(pictures):
        _save(folder / "plots" / f"prediction-{number}.png", figure)
    metrics = folder / "metrics.csv"
    found = {name.split("/")[1]: v for name, v in summary["metrics"].items()}
    best = dict.fromkeys((task.monitor, *task.metrics))  # what chose the weights comes first
    headline = [
        Number(SPOKEN.get(n, n), found[n], summary["protocol"])
        for n in list(best)[:2]
        if n in found
    ]
    headline += [
        Number("parameters", f"{summary['parameters']:,}"),
        Number(*_duration(summary["seconds"])),
    ]
    results = [
        {
            "figure": SPOKEN.get(name, name),
            "value": value,
            "split": "validation",
            "protocol": summary["protocol"],
        }
        for name, value in found.items()
    ]
    description = task.surrogate.description
    name = type(task.surrogate.net).__name__
    return fit_report(
        folder / "report.html",
        title=title or name,
        subtitle=f"{name}, {summary['steps']} steps",
        headline=headline,
        text=" ".join([_ABOUT, *task.remarks]),
        metrics=metrics if metrics.is_file() else (),
        results=results,
        sections=sections,
        data=description.table() if description is not None else {},
        environment=environment() | {k: v for k, v in summary.items() if "memory" in k},
        config=yaml.safe_dump(task.config, sort_keys=False) if task.config else "",
        monitor=_monitored(task),
        spans=task.loss_spans(),
    )


def _monitored(task: Task) -> tuple[str, str] | None:
    """The column and name of what chose the weights; None for the loss, which is drawn anyway."""
    if task.monitor == "loss":
        return None
    return task.metric_key("validation", task.monitor), SPOKEN.get(task.monitor, task.monitor)


def _duration(seconds: float) -> tuple[str, str]:
    """(unit, value): seconds up to two minutes, minutes beyond."""
    return ("seconds", f"{seconds:.0f}") if seconds < 120 else ("minutes", f"{seconds / 60:,.1f}")


def _sections(trainer: Trainer, task: Task) -> list[Section]:
    """What the task shows of some validation windows."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    loader = data.val_dataloader() if data else None
    if not loader:  # no validation split
        return []
    batch = task.showcase(loader)
    label = getattr(loader.dataset, "labels", None)
    labels = label(batch.index) if label is not None else {}
    batch = batch.to(task.device)
    with evaluating(task), torch.no_grad():
        prediction = task.evaluate_batch(batch)
        return task.report_sections(batch, prediction, labels)


def _save(path: Path, figure: Figure | bytes) -> None:
    from surform.data.atomic import replacing
    from surform.reports.images import png

    with replacing(path) as partial:
        partial.write_bytes(figure if isinstance(figure, bytes) else png(figure, dpi=110))
