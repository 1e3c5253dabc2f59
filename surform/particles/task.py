"""Training of jet taggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.jets_batch import JetBatch
from surform.data.loaders import gather_objects
from surform.particles.jet_tagger import JetTagger
from surform.particles.roc import EFFICIENCIES, Roc, mean_area, roc_curves
from surform.particles.starting import begin_with
from surform.reports.page import Section
from surform.training.classification import ClassTask
from surform.training.cross_entropy import CrossEntropy
from surform.training.metrics import METRICS
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule

__all__ = ["JetTask"]

_LOOKED_AT = 1024  # jets that the bits of fixed-point numbers are read off


class JetTask(ClassTask):
    """Train a network that tells which particle a jet came from.

    Every split has, of each class against all others, the area under its ROC curve and the
    rejection of the others. Where the jets' densities are known, the best possible areas stand
    beside: those of the likelihood ratio.

    Args:
        net: a registered network, e.g. jetformer.
        loss: module `loss(prediction, batch) -> scalar` of logits and probabilities.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of auc, the mean area over the classes, and top1, the share of jets.
        monitor: the metric by which the best checkpoint is chosen.
        signal_efficiency: share of a class that passes where the rejection of the others is told.
        weights: a saved tagger whose weights training starts from, as far as they fit: also those
            of a jetformer for a fixed_jetformer.
    """

    own_metrics: ClassVar[tuple[str, ...]] = ("auc", "top1")
    shown: ClassVar[int | None] = 10
    surrogate: JetTagger

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = CrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-4
        ),
        schedule: Schedule = Cosine(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("auc", "top1"),
        monitor: str = "auc",
        signal_efficiency: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            JetTagger(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        if not 0 < signal_efficiency <= 1:
            raise ValueError(f"signal_efficiency is {signal_efficiency}, but must lie in (0, 1]")
        self.signal_efficiency, self.weights = signal_efficiency, weights
        self._kept: list[tuple[Tensor, ...]] = []

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.weights is not None and not self.trainer.ckpt_path:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            samples = data.samples("train")
            some = torch.linspace(0, len(samples) - 1, min(len(samples), _LOOKED_AT)).long()
            jets = samples[some.tolist()].particles
            self.remarks.append(begin_with(self.surrogate, self.weights, jets))

    def measure(self, prediction: Prediction, batch: JetBatch) -> dict[str, Tensor]:
        """What single jets have; areas are those of the split."""
        return {n: METRICS[n](prediction, batch) for n in self.metrics if n in METRICS}

    def keep(self, prediction: Prediction, batch: JetBatch) -> None:
        scores = prediction.output.float().softmax(-1).cpu()
        known = batch.log_densities
        best = () if known is None else (known.double().softmax(-1).cpu(),)
        self._kept.append((scores, prediction.target.argmax(-1).cpu(), *best))

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Areas and rejections of all classes, and the best possible ones; curves as profiles."""
        kept = [rows for part in gather_objects(self._kept) for rows in part]
        self._kept = []
        if not kept:
            return {}
        scores, labels, *best = (torch.cat(parts) for parts in zip(*kept, strict=True))
        found = self._figures("", roc_curves(scores, labels))
        if best:
            found |= self._figures("optimal_", roc_curves(best[0], labels))
            above = found["optimal_auc"] - 0.5
            found["auc_of_optimum"] = (found["auc"] - 0.5) / above
        return found

    def report_sections(
        self, batch: JetBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.particles.jet_figures import report_sections

        about = self.surrogate.description
        if about is None:
            return []
        return report_sections(about, batch, prediction, self.profiles.get("validation", {}))

    def _figures(self, which: str, curves: list[Roc | None]) -> dict[str, Tensor]:
        found = {f"{which}auc": torch.tensor(mean_area(curves))}
        about = self.surrogate.description
        rows = []
        for number, curve in enumerate(curves):
            if curve is None:
                rows.append(torch.full_like(EFFICIENCIES, float("nan")))
                continue
            name = str(number) if about is None else about.classes[number]
            found[f"{which}auc_{name}"] = torch.tensor(curve.area)
            rejection = curve.rejection(self.signal_efficiency)
            found[f"{which}rejection_{name}"] = torch.tensor(rejection)
            rows.append(curve.background_efficiency(EFFICIENCIES))
        areas = [float("nan") if curve is None else curve.area for curve in curves]
        return found | {f"{which}roc": torch.stack(rows), f"{which}areas": torch.tensor(areas)}
