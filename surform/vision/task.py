"""Training of image classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from torch import nn
from torch.optim import AdamW, Optimizer

from surform.data.images_batch import ImageBatch
from surform.reports.page import Section
from surform.training.classification import ClassTask
from surform.training.cross_entropy import CrossEntropy
from surform.training.parameter_groups import trained_share
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule
from surform.vision.classifier import ImageClassifier
from surform.vision.compact_start import begin_with
from surform.vision.mixing import Mixing

__all__ = ["ClassificationTask"]

_METRICS = ("top1", "top5")


class ClassificationTask(ClassTask):
    """Train a network that tells which class an image shows.

    Targets are probabilities: mixed images have mixed ones. Biases, norms and other vectors are not
    decayed.

    Args:
        net: a registered classifier, e.g. cct.
        loss: module `loss(prediction, batch) -> scalar` of logits and probabilities.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of top1 and top5: shares of images.
        monitor: the metric by which the best checkpoint is chosen.
        mixup: alpha of mixup; 0 does without.
        cutmix: alpha of cutmix; 0 does without.
        mix_probability: that a batch is mixed.
        mix_switch: that cutmix is chosen where both are on.
        mix_epochs: mix in so many first epochs only; None: in all of them.
        erasing: probability that a rectangle of an image is replaced by noise.
        weights: a saved model, hf://owner/repo or an official checkpoint whose weights training
            starts from, as far as they fit: classes and the size of images may be others.
    """

    shown: ClassVar[int | None] = 16
    surrogate: ImageClassifier

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
        cutmix: float = 0.0,
        mix_probability: float = 1.0,
        mix_switch: float = 0.5,
        mix_epochs: int | None = None,
        erasing: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            ImageClassifier(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        for name in metrics:
            if name not in _METRICS:
                raise ValueError(f"metric {name!r} is not for classes: {', '.join(_METRICS)}")
        self.mixing = Mixing(mixup, cutmix, mix_probability, mix_switch, erasing)
        self.mix_epochs, self.weights = mix_epochs, weights

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage != "fit":
            return
        self._check_batches()
        if self.weights is not None and not self.trainer.ckpt_path:
            report = str(begin_with(self.surrogate.net, self.weights))
            self.remarks.append(f"Weights of {self.weights}: {'; '.join(report.splitlines())}.")
        self.remarks += trained_share(self.surrogate.net)

    def predict_batch(self, batch: ImageBatch) -> Prediction:
        """Logits beside the probabilities of the classes; mixed and erased in training."""
        images = self.surrogate.normalized(batch.images)
        like = images.new_empty(0, self._classes())
        targets = self.surrogate.targets(batch, like)
        if self.training:
            if self._mixes_now():
                images, targets = self.mixing.mix(images, targets)
            images = self.mixing.erase(images)
        return Prediction(self.surrogate.net(images), targets)

    def report_sections(
        self, batch: ImageBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.vision.class_figures import report_sections

        about = self.surrogate.description
        if about is None:
            return []
        profiles = self.profiles.get("validation", {})
        return report_sections(about, batch.images, prediction, profiles, labels)

    def _classes(self) -> int:
        about = self.surrogate.description
        if about is not None:
            return len(about.classes)
        return int(self.surrogate.net.__dict__.get("arguments", {})["num_classes"])

    def _mixes_now(self) -> bool:
        return self.mixing.mixes and (
            self.mix_epochs is None or self.current_epoch < self.mix_epochs
        )

    def _check_batches(self) -> None:
        data: Any = getattr(self.trainer, "datamodule", None)
        size, drops = getattr(data, "batch_size", 2), getattr(data, "drop_last", True)
        if self.mixing.mixes and (size % 2 or not drops):
            raise ValueError(
                f"mixup and cutmix pair the images of a batch, but data.batch_size is {size} and "
                f"data.drop_last {str(drops).lower()}: take an even size, and drop the last batch"
            )
