"""Training of pose networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.loaders import gather_objects
from surform.data.pose_batch import PoseBatch
from surform.data.pose_description import PoseDescription
from surform.layers.checks import one_of
from surform.reports.page import Section
from surform.training.parameter_groups import decay_groups, trained_share
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule
from surform.training.task import Task
from surform.vision.heatmap_losses import (
    CombinedHeatmapMSE,
    HardKeypointMSE,
    HeatmapMSE,
    HeatmapPrediction,
)
from surform.vision.heatmap_targets import make_targets
from surform.vision.initialization import initialize
from surform.vision.pck import REFERENCES, Reference
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.pose_scores import FIGURES, PoseScores, evaluate_set, within
from surform.vision.pose_teaching import teach, token_only

__all__ = ["PoseTask"]


class PoseTask(Task):
    """Train a network that finds joints in crops of persons or animals.

    Args:
        net: a registered pose network, vitpose or vitpose_plus.
        loss: module `loss(prediction, batch) -> scalar` of heatmaps.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        layer_decay: share of each block's learning rate that the one below it has.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: ap, ap50, ap75, ap_m, ap_l, ar, ar50, ar75, ar_m, ar_l (by OKS, over the whole
            split), pck, joint_error; means over the data sets where there are several.
        monitor: the metric by which the best checkpoint is chosen.
        flip_test: whether evaluation averages the heatmaps of crops and mirrored crops.
        sigma: of the targets' Gaussians, in pixels of the heatmap; a multiple of a third.
        joint_weights: whether joints count in the loss as their keypoint set says.
        pck_threshold: share of a person's size within which a joint is right.
        pck_by: that size: "box", "head" or "torso".
        box_area: area of persons without one as a share of their box's (0.53 in published tools).
        weights: a saved model, hf://owner/repo, an official checkpoint or one of a masked
            autoencoder whose weights training starts from, as far as they fit.
        weights_dataset: number of the data set whose part of a vitpose_plus is taken for a vitpose.
        teacher: a saved vitpose whose heatmaps, and knowledge token where it has one, this network
            learns from.
        token_only: train the network's knowledge token alone: it becomes such a teacher.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 12
    own_metrics: ClassVar[tuple[str, ...]] = FIGURES
    surrogate: PoseEstimator

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = HeatmapMSE(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=5e-4, weight_decay=0.1
        ),
        schedule: Schedule = Cosine(),  # noqa: B008
        layer_decay: float = 1.0,
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("ap", "ap50", "ap75", "ar", "pck"),
        monitor: str = "ap",
        flip_test: bool = True,
        sigma: float = 2.0,
        joint_weights: bool = False,
        pck_threshold: float = 0.2,
        pck_by: Reference = "box",
        box_area: float | None = None,
        weights: str | None = None,
        weights_dataset: int = 0,
        teacher: str | None = None,
        token_only: bool = False,
    ) -> None:
        super().__init__(
            PoseEstimator(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        one_of("pck_by", pck_by, REFERENCES)
        for name, value in (("pck_threshold", pck_threshold), ("sigma", sigma)):
            if not value > 0:
                raise ValueError(f"{name} is {value}, but must be positive")
        if box_area is not None and not 0 < box_area <= 1:
            raise ValueError(f"box_area is {box_area}, but must lie in (0, 1]")
        self.layer_decay, self.flip_test, self.sigma = layer_decay, flip_test, _whole(sigma)
        self.joint_weights = joint_weights
        self.pck: dict[str, Any] = {"threshold": pck_threshold, "by": pck_by}
        self.box_area = box_area
        self.weights, self.weights_dataset = weights, weights_dataset
        self.teacher, self.token_only = teacher, token_only
        self._scores = PoseScores(())

    # -- setup -----------------------------------------------------------------------------

    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net, self.layer_decay)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage != "fit":
            return
        net: Any = self.surrogate.net
        _require_loss(self.loss, self._about().encodings)
        data = getattr(self.trainer, "datamodule", None)
        self.remarks += list(data.remarks()) if hasattr(data, "remarks") else []  # type: ignore[union-attr]
        if self.weights is not None and not self.trainer.ckpt_path:
            report = str(initialize(net, self.weights, dataset=self.weights_dataset))
            self.remarks.append(f"Weights of {self.weights}: {'; '.join(report.splitlines())}.")
        if self.token_only:
            token_only(net)
        self.remarks += trained_share(self.surrogate.net)
        if self.teacher is not None:
            self.loss = teach(self.surrogate, self.loss, self.teacher)

    def train(self, mode: bool = True) -> PoseTask:
        """As for every module; a network of which only the token learns keeps its statistics."""
        super().train(mode)
        if self.token_only:
            self.surrogate.net.eval()
        return self

    # -- batches ---------------------------------------------------------------------------

    def training_loss(self, batch: PoseBatch) -> tuple[Prediction, Tensor]:
        crops = self.surrogate.normalized(batch.images)
        prediction = self._beside_targets(self._heatmaps(crops, batch), batch)
        return prediction, self.loss(prediction, replace(batch, images=crops))

    def predict_batch(self, batch: PoseBatch) -> HeatmapPrediction:
        """Heatmaps beside their targets; in evaluation averaged with those of mirrored crops."""
        crops = self.surrogate.normalized(batch.images)
        if self.training:
            return self._beside_targets(self._heatmaps(crops, batch), batch)
        maps = self.surrogate.heatmaps(crops, batch.dataset, flip=self.flip_test)
        return self._beside_targets(maps, batch)

    def predict_step(self, batch: PoseBatch, batch_idx: int) -> Tensor:
        """(B, K, 3): x and y in pixels of the image, and the score."""
        return self.surrogate.outputs(batch)

    def measure(self, prediction: Prediction, batch: PoseBatch) -> dict[str, Tensor]:
        """Nothing of single crops: all figures are those of the split."""
        return {}

    def keep(self, prediction: Prediction, batch: PoseBatch) -> None:
        joints = self.surrogate.located(prediction.output, batch.dataset, batch.center, batch.scale)
        self._scores.add(joints, batch)

    def _heatmaps(self, crops: Tensor, batch: PoseBatch) -> Tensor:
        """Of the crops as they are, made in one call."""
        net = self.surrogate.net
        return net(crops, batch.dataset) if self.surrogate.several else net(crops)

    def _beside_targets(self, maps: Tensor, batch: PoseBatch) -> HeatmapPrediction:
        target, weight = self._targets(batch, maps)
        counts = None
        if self.surrogate.several:
            counts = self.surrogate.plain.joint_counts(batch.dataset)
        return HeatmapPrediction(maps, target, weight, joints=counts)

    def _targets(self, batch: PoseBatch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps (B, C, h, w) and weights (B, K) as each crop's own data set encodes them."""
        about = self._about()
        size = (batch.images.shape[-2], batch.images.shape[-1])
        made = (maps.shape[-2], maps.shape[-1])

        def encoded(dataset: int, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
            own = about.sets[dataset]
            weights = torch.tensor(own.weights) if self.joint_weights else None
            return make_targets(
                batch.joints[rows, : len(own)].to(_wide(maps)),
                batch.visible[rows, : len(own)].to(_wide(maps)),
                size,
                made,
                about.encodings[dataset],  # type: ignore[arg-type]
                sigma=self.sigma,
                joint_weights=weights,
            )

        if len(about.sets) == 1:
            return encoded(0, slice(None))
        target = maps.new_zeros(maps.shape, dtype=_wide(maps))
        weight = target.new_zeros(maps.shape[:2])
        for dataset in batch.dataset.unique().tolist():
            rows = (batch.dataset == dataset).nonzero().flatten()
            own, counted = encoded(dataset, rows)
            target[rows] = F.pad(own, (0, 0, 0, 0, 0, maps.shape[1] - own.shape[1]))
            weight[rows] = F.pad(counted, (0, maps.shape[1] - counted.shape[1]))
        return target, weight

    def _about(self) -> PoseDescription:
        about = self.surrogate.description
        if about is None:
            raise ValueError(
                "the task does not know the joints of its data: train with a data module of poses, "
                "or give them with task.surrogate.fit_to"
            )
        return about

    # -- whole splits ----------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._scores = PoseScores(self._about().sets)

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._scores = PoseScores(self._about().sets)

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Figures of the split: means over data sets; profiles of each set and joint."""
        scores = self._gathered()
        figures: dict[str, list[float]] = {name: [] for name in self.metrics}
        kept: dict[str, Tensor] = {}
        for number, joints in enumerate(self._about().sets):
            pair = scores.of(number)
            if pair is None:
                continue
            found, annotated = pair
            whole = self._truth(stage, number, found.image_id, len(scores))
            own = evaluate_set(
                joints, found, annotated, whole, self.metrics, box_area=self.box_area, **self.pck
            )
            for name in self.metrics:
                figures[name].append(own.values[name])
            kept |= {f"{n}/{number}": torch.from_numpy(row) for n, row in own.rows().items()}
        means = {name: _mean(values) for name, values in figures.items()}
        return {name: torch.tensor(value).double() for name, value in means.items()} | kept

    def _gathered(self) -> PoseScores:
        """What all processes collected."""
        shares = gather_objects(self._scores.parts)
        return PoseScores(self._scores.sets, [part for share in shares for part in share])

    def _truth(self, stage: str, dataset: int, images: np.ndarray, seen: int) -> Any:
        """All annotations of the split, crowds too, where the data module gives them."""
        data: Any = getattr(self.trainer, "datamodule", None)
        give = getattr(data, "ground_truth", None)
        if give is None:
            return None
        whole = give(stage, dataset)
        limit = self.trainer.sanity_checking or seen < self._expected(stage)
        return within(whole, images) if limit else whole

    def _expected(self, stage: str) -> int:
        """Crops that a whole evaluation of the split sees."""
        trainer = self.trainer
        loaders = trainer.val_dataloaders if stage == "validation" else trainer.test_dataloaders
        return len(getattr(loaders, "dataset", ()))

    # -- report ----------------------------------------------------------------------------

    def report_sections(
        self, batch: PoseBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.vision.pose_figures import report_sections

        joints = self.surrogate.located(prediction.output, batch.dataset, batch.center, batch.scale)
        return report_sections(
            self._about(), batch, joints, self.profiles.get("validation", {}), self.pck
        )


def _require_loss(loss: nn.Module, encodings: Sequence[str]) -> None:
    """ValueError where a loss of offsets meets heatmaps without them, or the other way round."""
    offsets = "udp_combined" in encodings
    if offsets and isinstance(loss, HeatmapMSE | HardKeypointMSE):
        raise ValueError(
            "heatmaps of the encoding udp_combined hold offsets, too: set model.loss to "
            "heatmap_combined"
        )
    if not offsets and isinstance(loss, CombinedHeatmapMSE):
        raise ValueError(
            f"heatmap_combined is the loss of the encoding udp_combined, but data.encoding is "
            f"{', '.join(encodings)}: set model.loss to heatmap_mse"
        )


def _whole(sigma: float) -> float:
    """The sigma whose published window, 3 sigma to each side, has whole pixels.

    Windows of other widths are cut towards zero, which moves Gaussians near the border by a pixel.
    """
    reach = round(3 * sigma)
    if reach < 1 or abs(3 * sigma - reach) > 0.01:
        raise ValueError(
            f"sigma is {sigma}, but must be a multiple of a third, such as 1, 1.333 or 2: the "
            "window of 3 sigma around a joint has whole pixels"
        )
    return reach / 3


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _wide(maps: Tensor) -> torch.dtype:
    """Targets are made in float32 at least."""
    return torch.promote_types(maps.dtype, torch.float32)
