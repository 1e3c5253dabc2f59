"""Training of networks that tell which sounds are in a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.audio.average_precision import area_under_roc, average_precision
from surform.audio.classifier import AudioClassifier
from surform.audio.mixup import mix
from surform.audio.starting import begin_with
from surform.data.clips_batch import ClipBatch
from surform.data.loaders import gather_objects
from surform.reports.page import Section
from surform.training.binary_cross_entropy import BinaryCrossEntropy
from surform.training.classification import ClassTask
from surform.training.cross_entropy import CrossEntropy
from surform.training.metrics import METRICS
from surform.training.parameter_groups import trained_share
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule

__all__ = ["AudioTask"]

_WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "map": average_precision, "auc": area_under_roc,
}  # fmt: skip


class AudioTask(ClassTask):
    """Train a network that tells which class a clip of sound is of, or which classes are heard.

    Biases, norms and other vectors are not decayed. Of a network with adapters only these, their
    norms and the head are trained.

    Args:
        net: a registered network: ast, passt, or adapted with one of them inside.
        loss: module `loss(prediction, batch) -> scalar`: cross_entropy where each clip has one
            class, binary_cross_entropy where clips have several.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of top1 and top5 (shares of clips that have one class), map (mean average
            precision) and auc (mean area under the ROC curve), means over the classes that occur.
        monitor: the metric by which the best checkpoint is chosen.
        mixup: alpha of mixup of spectrograms; 0 does without.
        mixup_share: of the clips that are mixed.
        weights: a saved model, hf://owner/repo or an official checkpoint of AST or PaSST whose
            weights training starts from, as far as they fit: classes and lengths may be others.
    """

    shown: ClassVar[int | None] = 12
    own_metrics: ClassVar[tuple[str, ...]] = ("top1", "top5", *_WHOLE)
    surrogate: AudioClassifier

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = CrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=5e-4, weight_decay=5e-2
        ),
        schedule: Schedule = Cosine(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("top1", "top5"),
        monitor: str = "top1",
        mixup: float = 0.0,
        mixup_share: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            AudioClassifier(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        if mixup < 0:
            raise ValueError(f"mixup is {mixup}, but must not be negative")
        if not 0 <= mixup_share <= 1:
            raise ValueError(f"mixup_share is {mixup_share}, but must lie in [0, 1]")
        self.mixup, self.mixup_share, self.weights = mixup, mixup_share, weights
        self._found: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._check_classes()
        if stage == "fit" and self.weights is not None and not self.trainer.ckpt_path:
            about = self.surrogate.description
            classes = None if about is None else about.classes
            report = str(begin_with(self.surrogate.net, self.weights, classes))
            self.remarks.append(f"Weights of {self.weights}: {'; '.join(report.splitlines())}.")
        if stage == "fit":
            self.remarks += trained_share(self.surrogate.net)

    def predict_batch(self, batch: ClipBatch) -> Prediction:
        """Logits beside the classes; mixed in training."""
        found = self.surrogate.normalized(batch.spectrograms)
        if not (self.training and self.mixup):
            logits = self.surrogate.net(found)
            return Prediction(logits, self.surrogate.targets(batch, logits))
        like = found.new_empty(0, len(self._about().classes), dtype=torch.float32)
        targets = self.surrogate.targets(batch, like)
        found, targets = mix(found, targets, self.mixup, self.mixup_share)
        logits = self.surrogate.net(found)
        return Prediction(logits, targets.to(logits.dtype))

    def measure(self, prediction: Prediction, batch: ClipBatch) -> dict[str, Tensor]:
        """What single clips have: whether the class is among the most probable ones."""
        own = [name for name in self.metrics if name in METRICS]
        return {name: METRICS[name](prediction, batch) for name in own}

    def profile_batch(self, prediction: Prediction, batch: ClipBatch) -> dict[str, Tensor]:
        """Shares of true and predicted classes, where clips have one each."""
        if batch.targets.ndim == 2:
            return {}
        return super().profile_batch(prediction, batch)

    def keep(self, prediction: Prediction, batch: ClipBatch) -> None:
        if batch.targets.ndim == 2 or any(name in _WHOLE for name in self.metrics):
            chances = self._chances(prediction.output.float())
            self._found.append((chances.cpu(), prediction.target.cpu()))

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Figures of the split, means over the classes that occur, and those of each class."""
        parts = [part for share in gather_objects(self._found) for part in share]
        self._found = []
        if not parts:
            return {}
        scores, truth = (torch.cat(each) for each in zip(*parts, strict=True))
        rows = {name: function(scores, truth) for name, function in _WHOLE.items()}
        found = {name: rows[name].nanmean() for name in self.metrics if name in _WHOLE}
        if self._about().several:
            found |= {"class_map": rows["map"], "class_share": truth.double().mean(0)}
        return found

    def report_sections(
        self, batch: ClipBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.audio.figures import report_sections

        about = self.surrogate.description
        if about is None:
            return []
        chances = self._chances(prediction.output.float())
        profiles = self.profiles.get("validation", {})
        return report_sections(
            about, batch.spectrograms, chances, prediction.target, profiles, labels
        )

    def _chances(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self._about().several else logits.softmax(-1)

    def _about(self) -> Any:
        about = self.surrogate.description
        if about is None:
            raise ValueError(
                "the task does not know the classes of its data: train with a data module of clips,"
                " or give them with task.surrogate.fit_to"
            )
        return about

    def _check_classes(self) -> None:
        """ValueError for a loss or figures that do not suit the labels."""
        about = self.surrogate.description
        if about is None or not about.several:
            return
        if not isinstance(self.loss, BinaryCrossEntropy):
            raise ValueError(
                f"clips have several classes, which {type(self.loss).__name__} does not take: set "
                "model.loss to binary_cross_entropy"
            )
        single = [name for name in self.metrics if name in METRICS]
        if single:
            raise ValueError(
                f"clips have several classes, for which there is no {single[0]}: set model.metrics "
                "to [map, auc], and model.monitor to map"
            )
