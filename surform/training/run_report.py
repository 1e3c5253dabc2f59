"""The report of a finished run: figures, loss curves, predictions beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lightning.pytorch import LightningModule, Trainer

from surform.training.environment import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["prediction_figures", "write_report"]

_SHOWN = ("relative_l2", "vrmse", "rmse", "h1", "correlation")


def write_report(
    folder: Path, title: str, trainer: Trainer, task: LightningModule, summary: dict[str, Any]
) -> Path:
    """Write `report.html` into the run folder, and its pictures into `plots/`."""
    from surform.reports import Number, fit_report

    figures = prediction_figures(trainer, task)
    for number, figure in enumerate(figures.values()):
        _save(folder / "plots" / f"prediction-{number}.png", figure)
    metrics = folder / "metrics.csv"
    found = {name.split("/")[1]: v for name, v in summary["metrics"].items()}
    headline = [Number(_spoken(n), found[n], summary["protocol"]) for n in _SHOWN[:2] if n in found]
    headline += [
        Number("parameters", summary["parameters"]),
        Number("minutes", summary["seconds"] / 60),
    ]
    results = [
        {
            "figure": _spoken(name),
            "value": value,
            "split": "validation",
            "protocol": summary["protocol"],
        }
        for name, value in found.items()
    ]
    description = getattr(task.surrogate, "description", None)
    return fit_report(
        folder / "report.html",
        title=title or type(task.surrogate.net).__name__,  # type: ignore[union-attr]
        subtitle=f"{type(task.surrogate.net).__name__}, {summary['steps']} steps",  # type: ignore[union-attr]
        headline=headline,
        text=(
            "Figures are those of the best weights on the whole validation split; the model in "
            "the folder `model` holds these weights with their normalisation."
        ),
        metrics=metrics if metrics.is_file() else (),
        results=results,
        figures=figures,
        data=_data_table(description),
        environment=environment() | {k: v for k, v in summary.items() if "memory" in k},
        config=yaml.safe_dump(task.config, sort_keys=False) if task.config else "",
    )


def prediction_figures(
    trainer: Trainer, task: LightningModule, samples: int = 2
) -> dict[str, Figure]:
    """Predictions of the first validation windows beside the truth, by caption."""
    from surform.reports import fields

    description: Any = getattr(task.surrogate, "description", None)
    loader = trainer.datamodule.val_dataloader() if trainer.datamodule else None  # type: ignore[attr-defined]
    batch = next(iter(loader), None) if loader is not None else None
    if batch is None or description is None:
        return {}
    batch = batch.to(task.device)
    was_training = task.training
    task.eval()
    with torch.no_grad():
        prediction = task.evaluate_batch(batch)  # type: ignore[operator]
    task.train(was_training)
    figures = {}
    for sample in range(min(samples, len(prediction.output))):
        for channel, name in enumerate(description.targets):
            output, target = (
                _label(tensor[sample, ..., channel], name, description, batch.target_coordinates)
                for tensor in (prediction.output, prediction.target)
            )
            caption = f"{name}, validation window {int(batch.index[sample])}"
            figures[caption] = fields(output, target, times=4)
    return figures


def _label(
    values: torch.Tensor, name: str, description: Any, points: tuple[torch.Tensor, ...]
) -> Any:
    from surform.reports import labelled

    axes: dict[str, Any] = {}
    if values.ndim == len(description.output_axes) + 1:
        step = description.time_step or 1.0
        axes["time"] = [step * (1 + k) for k in range(values.shape[0])]
    axes |= {
        axis: positions.cpu().numpy()
        for axis, positions in zip(description.output_axes, points, strict=True)
    }
    units = description.units.get(name, "1")
    return labelled(values.float().cpu().numpy(), name, axes, units)


def _data_table(description: Any) -> dict[str, Any]:
    if description is None:
        return {}
    table = {
        "inputs": ", ".join((*description.inputs, *description.parameters)),
        "targets": ", ".join(description.targets),
        "grid": " x ".join(str(n) for n in description.shape),
    }
    if description.target_axes:
        table["grid of the targets"] = " x ".join(str(n) for n in description.target_shape)
    if description.input_steps:
        table["frames"] = f"{description.input_steps} in, {description.target_steps} out"
    return table | dict(description.source)


def _spoken(name: str) -> str:
    return {"relative_l2": "relative L2", "vrmse": "VRMSE", "rmse": "RMSE", "h1": "H1 error"}.get(
        name, name
    )


def _save(path: Path, figure: Figure) -> None:
    from surform.data.atomic import replacing

    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
