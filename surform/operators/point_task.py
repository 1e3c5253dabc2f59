"""Training of operators on irregular meshes, whose samples differ in their points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.points import PointBatch
from surform.operators.point_surrogate import PointSurrogate
from surform.reports.page import Section
from surform.training.losses import RelativeL2, relative_l2
from surform.training.prediction import Prediction
from surform.training.schedules import OneCycle, Schedule
from surform.training.task import Task

__all__ = ["PointTask"]

_METRICS = ("relative_l2", "rmse", "mse", "mae")  # those that heed weights


class PointTask(Task):
    """Train a network on samples on meshes; sums run over the points that a sample has.

    The figures are relative L2 of each sample and target over its points, and `relative_l2` their
    mean over the targets; in physical units.

    Args:
        net: a registered operator on points, e.g. gnot.
        loss: module `loss(prediction, batch) -> scalar`; by default relative L2 per sample and
            target, averaged over both.
        loss_on: whether the loss compares "normalized" targets, as published, or "physical" ones.
        quadrature: weigh points by the measure of the mesh that they stand for, in loss and
            figures, so that refined regions do not count more than others.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: of relative_l2, rmse, mse, mae; averaged over points, targets and samples.
        monitor: the metric by which the best checkpoint is chosen.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    surrogate: PointSurrogate

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = RelativeL2(guard="none", channels="separate"),  # noqa: B008
        loss_on: Literal["physical", "normalized"] = "normalized",
        quadrature: bool = False,
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=5e-6
        ),
        schedule: Schedule = OneCycle(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("relative_l2", "rmse"),
        monitor: str = "relative_l2",
    ) -> None:
        super().__init__(
            PointSurrogate(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        if loss_on not in ("physical", "normalized"):
            raise ValueError(f"loss_on must be 'physical' or 'normalized', got {loss_on!r}")
        for name in metrics:
            if name not in _METRICS:
                raise ValueError(f"metric {name!r} is for grids; on points: {', '.join(_METRICS)}")
        self.loss_on, self.quadrature = loss_on, quadrature

    def predict_batch(self, batch: PointBatch) -> Prediction:
        """What the training loss sees."""
        if self.loss_on == "physical":
            return self.evaluate_batch(batch)
        target = self.surrogate.target_normalizer.normalize(batch.targets)
        target = torch.where(batch.mask.unsqueeze(-1), target, 0.0)
        return Prediction(self.surrogate.normalized_outputs(batch), target, self._weight(batch))

    def evaluate_batch(self, batch: PointBatch) -> Prediction:
        """Physical targets at all points."""
        return Prediction(self.surrogate.outputs(batch), batch.targets, self._weight(batch))

    def measure(self, prediction: Prediction, batch: PointBatch) -> dict[str, Tensor]:
        """Figures per sample, `(B,)`, by name; ValueError for a relative error to zero."""
        if "relative_l2" in self.metrics:
            self._require_targets(prediction, batch)
        figures = super().measure(prediction, batch)
        if "relative_l2" in self.metrics:
            for channel, name in enumerate(self._targets()):
                one = prediction.channels(channel, channel + 1)
                figures[f"relative_l2_{name}"] = relative_l2(one, "none")
        return figures

    def figure_names(self) -> tuple[str, ...]:
        each = self._targets() if "relative_l2" in self.metrics else ()
        return (*super().figure_names(), *(f"relative_l2_{name}" for name in each))

    def showcase(self, loader: Any) -> PointBatch:
        """The first, the middle and the last sample of the split."""
        samples = loader.dataset
        return samples[sorted({0, len(samples) // 2, len(samples) - 1})]

    def report_sections(
        self, batch: PointBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.operators.point_figures import prediction_figures

        about = self.surrogate.description
        if about is None:
            return []
        return [
            Section("Predictions", figures=prediction_figures(about, batch, prediction, labels))
        ]

    def _require_targets(self, prediction: Prediction, batch: PointBatch) -> None:
        about = self.surrogate.description
        zero = (prediction.squared_target.sum(1) == 0).nonzero()
        if len(zero):
            number, channel = zero[0].tolist()
            name = f"target {channel}" if about is None else about.targets[channel]
            raise ValueError(
                f"{name} is zero at all points of sample {int(batch.index[number])} of the split, "
                "so that its relative error is infinite: choose other metrics, such as rmse, and "
                "monitor one of them"
            )

    def _targets(self) -> tuple[str, ...]:
        """The targets that have figures of their own: several."""
        about = self.surrogate.description
        return about.targets if about is not None and len(about.targets) > 1 else ()

    def _weight(self, batch: PointBatch) -> Tensor:
        """`(B, N, 1)`: 0 at padding, and 1 on average over all N, so that means are of real points.

        Sums over points, means over them and ratios of both then agree with those of the sample
        without its padding, up to a factor that ratios do not see.
        """
        weight = batch.mask.to(batch.points.dtype)
        if self.quadrature:
            if batch.weights is None:
                raise ValueError(
                    "quadrature weighs points by their cells, but the data have no weights: set "
                    "model.quadrature to false, or give them"
                )
            weight = batch.weights * weight
        return (weight * (weight.shape[1] / weight.sum(1, keepdim=True))).unsqueeze(-1)
