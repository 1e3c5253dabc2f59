"""Training of classifiers of sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from surform.data.sequences_batch import SequenceBatch
from surform.reports.classes import class_sections
from surform.reports.page import Section
from surform.sequences.classifier import SequenceClassifier
from surform.training.classification import ClassTask
from surform.training.cross_entropy import CrossEntropy
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule

__all__ = ["SequenceTask"]


class SequenceTask(ClassTask):
    """Train a network that tells which class a sequence of tokens, or a pair of them, is of.

    Args:
        net: a registered network, e.g. sequence_encoder.
        loss: module `loss(prediction, batch) -> scalar` of logits and probabilities.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of top1 and top5: shares of sequences.
        monitor: the metric by which the best checkpoint is chosen.
    """

    surrogate: SequenceClassifier

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = CrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-2
        ),
        schedule: Schedule = Cosine(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("top1",),
        monitor: str = "top1",
    ) -> None:
        super().__init__(
            SequenceClassifier(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )

    def report_sections(
        self, batch: SequenceBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        about = self.surrogate.description
        if about is None:
            return []
        return class_sections(about.classes, self.profiles.get("validation", {}), "sequences")
