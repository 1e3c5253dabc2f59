"""Training of PDE operators on regular grids: steady maps and windows of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.batches import FieldBatch
from surform.operators.surrogate import FieldSurrogate
from surform.operators.training_noise import with_noise
from surform.operators.windows import advance
from surform.reports.page import Section
from surform.training.losses import RelativeL2
from surform.training.metrics import frame_errors
from surform.training.prediction import Prediction
from surform.training.schedules import OneCycle, Schedule
from surform.training.task import Task

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FieldTask"]


class FieldTask(Task):
    """Train a network on fields; losses and metrics see physical fields unless said otherwise.

    Args:
        net: a registered operator, e.g. factformer2d.
        loss: module `loss(prediction, batch) -> scalar`.
        loss_on: whether the loss compares "physical" or "normalized" fields.
        boundary: "zero" sets predictions to zero on the rim of axes that are not periodic.
        predicts: "state", or "change": the network learns the difference to the last frame given.
        walls: the velocity's variables, one per axis, of a flow in a closed box: zero on the first
            plane of their axis, in inputs and predictions (see `FieldSurrogate`).
        training_noise: deviation of Gaussian noise on what is fed back in a rollout, in normalised
            units, drawn anew at every training step; targets and evaluation stay clean.
        steps: frames per call of the network (time windows); None = all target frames at once.
        curriculum_start: frames predicted at the first iteration of a curriculum.
        curriculum_length: iterations over which the frames grow from curriculum_start to `steps`;
            0 = no curriculum.
        pushforward_after: iterations after which some train on their own predictions; None = never.
        pushforward_every: every which iteration does so then.
        pushforward_rollouts: calls without gradient before the block that the loss sees. The data
            must give `(pushforward_rollouts + 1) * steps` target frames.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: what is computed on whole splits.
        monitor: the metric by which the best checkpoint is chosen.
    """

    surrogate: FieldSurrogate

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = RelativeL2(),  # noqa: B008  stateless; shows up in saved configurations
        loss_on: Literal["physical", "normalized"] = "physical",
        boundary: Literal["free", "zero"] = "free",
        predicts: Literal["state", "change"] = "state",
        walls: Sequence[str] = (),
        training_noise: float = 0.0,
        steps: int | None = None,
        curriculum_start: int = 1,
        curriculum_length: int = 0,
        pushforward_after: int | None = None,
        pushforward_every: int = 3,
        pushforward_rollouts: int = 2,
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-4
        ),
        schedule: Schedule = OneCycle(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("relative_l2", "rmse", "vrmse", "correlation"),
        monitor: str = "relative_l2",
    ) -> None:
        super().__init__(
            FieldSurrogate(net, boundary=boundary, predicts=predicts, walls=walls),
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
        if not 0 <= training_noise < math.inf:
            raise ValueError(f"training_noise must be 0 or more, got {training_noise}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if curriculum_length and (steps is None or not 1 <= curriculum_start <= steps):
            raise ValueError("a curriculum needs steps, and 1 <= curriculum_start <= steps")
        if pushforward_after is not None and steps is None:
            raise ValueError("pushforward training needs steps, the frames per call")
        if pushforward_every < 1 or pushforward_rollouts < 1 or curriculum_length < 0:
            raise ValueError(
                "pushforward_every and pushforward_rollouts must be at least 1, "
                "curriculum_length at least 0"
            )
        self.loss_on = loss_on
        self.training_noise = training_noise
        self.steps = steps
        self.curriculum_start = curriculum_start
        self.curriculum_length = curriculum_length
        self.pushforward_after = pushforward_after
        self.pushforward_every = pushforward_every
        self.pushforward_rollouts = pushforward_rollouts

    def predict_batch(self, batch: FieldBatch) -> Prediction:
        """What the training loss sees: one call of the network, perhaps after rollouts."""
        window, targets = batch.inputs, batch.targets
        if self.training:
            window = with_noise(window, self.surrogate, self.training_noise)
        if not batch.time_window:
            return self._compare(window, targets, batch, None)
        iteration = self.batches_seen
        if self.pushes_forward(iteration):
            window, targets = self._push_forward(window, batch)
            return self._compare(window, targets, batch, targets.shape[1])
        steps = min(self.latent_steps(iteration), targets.shape[1]) or targets.shape[1]
        return self._compare(window, targets[:, :steps], batch, steps)

    def evaluate_batch(self, batch: FieldBatch) -> Prediction:
        """All target frames in physical units, fed back in calls of `steps` frames."""
        return Prediction(self.surrogate.outputs(batch, self.steps), batch.targets)

    def profile_batch(self, prediction: Prediction, batch: FieldBatch) -> dict[str, Tensor]:
        """The errors of single frames, where there is a time axis."""
        return {"frames": frame_errors(prediction, batch)} if batch.time_window else {}

    def loss_spans(self) -> dict[str, str]:
        """Training sees one call of the network, validation all target frames, always physical."""
        own, other = [], []
        about = self.surrogate.description
        frames = about.target_steps if about is not None else None
        if self.steps is not None and frames is not None and self.steps < frames:
            own.append(f"{self.steps} frame{'s' * (self.steps > 1)}")
            other.append(f"{frames} frames in a row")
        if self.loss_on == "normalized":
            own.append("normalized")
            other.append("physical")
        return {"training": ", ".join(own), "validation": ", ".join(other)} if own else {}

    def report_sections(
        self, batch: FieldBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.operators.figures import prediction_figures

        about = self.surrogate.description
        if about is None:
            return []
        return [Section("Predictions", figures=prediction_figures(about, batch, prediction))]

    def label_predictions(
        self, output: Tensor, batch: FieldBatch, labels: dict[str, Any]
    ) -> xr.Dataset:
        from surform.operators.labelled_windows import labelled_windows

        about = self.surrogate.description
        if about is None:
            raise ValueError("predictions cannot be labelled: the data have no description")
        return labelled_windows(output, batch, about, labels)

    def latent_steps(self, iteration: int) -> int:
        """Frames predicted at an iteration: start + int((end - start) * iteration / length)."""
        end = self.steps or 0  # 0: all target frames
        if not self.curriculum_length or iteration >= self.curriculum_length:
            return end
        start = self.curriculum_start
        return start + int((end - start) * iteration / self.curriculum_length)

    def pushes_forward(self, iteration: int) -> bool:
        """Whether an iteration trains on the network's own predictions."""
        after = self.pushforward_after
        return after is not None and iteration > after and iteration % self.pushforward_every == 0

    def _push_forward(self, window: Tensor, batch: FieldBatch) -> tuple[Tensor, Tensor]:
        block, rollouts = self.steps or 1, self.pushforward_rollouts
        needed = block * (rollouts + 1)
        if batch.targets.shape[1] < needed:
            raise ValueError(
                f"pushforward with {rollouts} rollouts of {block} frames needs target_steps >= "
                f"{needed}, the data give {batch.targets.shape[1]}"
            )
        with torch.no_grad():
            for _ in range(rollouts):
                frames = self.surrogate(window, batch.coordinates, block)
                window = advance(window, frames)
        return window, batch.targets[:, block * rollouts : needed]

    def _compare(
        self, inputs: Tensor, targets: Tensor, batch: FieldBatch, steps: int | None
    ) -> Prediction:
        if self.loss_on == "physical":
            return Prediction(self.surrogate(inputs, batch.coordinates, steps), targets)
        output = self.surrogate.normalized(inputs, batch.coordinates, steps)
        return Prediction(output, self.surrogate.target_normalizer.normalize(targets))
