"""Training of networks that map hyperspectral scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from surform.data.scenes_samples import SceneBatch
from surform.hyperspectral.agreement import FIGURES, agreement
from surform.hyperspectral.classifier import SceneClassifier
from surform.reports.page import Section
from surform.training.classification import ClassTask
from surform.training.cross_entropy import CrossEntropy
from surform.training.prediction import Prediction
from surform.training.schedules import Constant, Schedule

__all__ = ["SceneTask"]


class SceneTask(ClassTask):
    """Train a network that tells which class covers a pixel.

    What the network itself adds to the loss (PyFormer: the norm of one layer) is added in training.

    Args:
        net: a registered network of scenes, pyformer or spectral_cnn.
        loss: module `loss(prediction, batch) -> scalar` of logits and probabilities.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of oa (overall accuracy), aa (average of the classes' accuracies), kappa (Cohen's).
        monitor: the metric by which the best checkpoint is chosen.
    """

    own_metrics: ClassVar[tuple[str, ...]] = tuple(FIGURES)
    surrogate: SceneClassifier

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = CrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: Adam(params, lr=1e-4),
        schedule: Schedule = Constant(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = tuple(FIGURES),
        monitor: str = "oa",
    ) -> None:
        super().__init__(
            SceneClassifier(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "remarks"):
            self.remarks += data.remarks()

    def predict_batch(self, batch: SceneBatch) -> Prediction:
        """Logits beside the probabilities of the classes, and what the network asks for."""
        found = super().predict_batch(batch)
        penalty = getattr(self.surrogate.net, "penalty", None)
        return replace(found, penalty=penalty()) if self.training and penalty else found

    def measure(self, prediction: Prediction, batch: SceneBatch) -> dict[str, Tensor]:
        """Nothing of single pixels: all figures are those of the split."""
        return {}

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Figures of the table of true and predicted classes."""
        table = self._profiles.results(self._sum_over_processes)["confusion"]
        return {name: agreement(table, name) for name in self.metrics}

    def report_sections(
        self, batch: SceneBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.hyperspectral.map_figures import report_sections

        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return report_sections(self.surrogate, data, self.profiles.get("validation", {}))
