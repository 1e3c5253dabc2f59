"""Training of policies on demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.layers.checks import at_least
from surform.reports.page import Section
from surform.robotics.policy import Policy
from surform.robotics.policy_start import begin_with
from surform.robotics.random_shift import random_shift
from surform.training.parameter_groups import decay_groups
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule
from surform.training.task import Task

__all__ = ["NetworkLoss", "PolicyTask"]

_METRICS = ("action_l1", "action_l2", "first_action_l1")


class NetworkLoss(nn.Module):
    """The loss that the network itself defines: of its noise, its tokens, or its actions.

    It is computed from the windows, not from the sampled actions that metrics are of.
    """

    def forward(self, prediction: Prediction, batch: Any) -> Tensor:
        raise TypeError("the loss of a policy is that of its network: use `PolicyTask`")


class PolicyTask(Task):
    """Train a policy on windows of demonstrations, by the loss of its network.

    DiT and U-Net: of the noise; HPT: of its head, over histories of random length; RT-1: of the
    tokens of all steps' actions; bc_mlp: absolute errors. Actions beyond the end of an episode do
    not count. Biases and norms are not decayed.

    Args:
        net: a registered policy: dit_policy, hpt, rt1, unet_policy, bc_mlp.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights, (1 + n) / (10 + n) at most after
            step n; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: action_l1, action_l2, first_action_l1: errors of sampled actions in the robot's
            units on held-out episodes.
        monitor: the metric by which the best checkpoint is chosen.
        weights: a saved model, hf://owner/repo or a run folder whose weights training starts from,
            as far as they fit; for hpt also an official trunk.pth.
        freeze: hpt: how many of the trunk's blocks are not trained, counted from the first; -1:
            all.
        shift: in training, images of each window are moved by up to so many pixels.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 64
    own_metrics: ClassVar[tuple[str, ...]] = _METRICS
    ema_warm: ClassVar[bool] = True
    surrogate: Policy

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=3e-4, weight_decay=1e-6
        ),
        schedule: Schedule = Cosine(),  # noqa: B008  stateless; shows up in configurations
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = _METRICS,
        monitor: str = "action_l1",
        weights: str | None = None,
        freeze: int = 0,
        shift: int = 0,
    ) -> None:
        super().__init__(
            Policy(net),
            loss=NetworkLoss(),
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        at_least(0, shift=shift)
        self.weights, self.shift = weights, shift
        trunk: Any = getattr(net, "trunk", None)
        if freeze and trunk is None:
            raise ValueError(f"freeze is {freeze}, but {type(net).__name__} has no trunk")
        if freeze:
            trunk.freeze(None if freeze < 0 else freeze)

    # -- setup -----------------------------------------------------------------------------

    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.weights is not None and not self.trainer.ckpt_path:
            report = str(begin_with(self.surrogate, self.weights))
            self.remarks.append(f"Weights of {self.weights}: {'; '.join(report.splitlines())}.")

    # -- batches ---------------------------------------------------------------------------

    def training_loss(self, batch: DemonstrationBatch) -> tuple[Prediction, Tensor]:
        if self.shift:
            moved = {name: random_shift(x, self.shift) for name, x in batch.images.items()}
            batch = replace(batch, images=moved)
        window = self.surrogate.window(batch)
        loss = self.surrogate.net.learn(window)  # type: ignore[operator]
        return Prediction(window.actions, window.actions), loss

    def predict_batch(self, batch: DemonstrationBatch) -> Prediction:
        """Sampled chunks beside those of the demonstrations, in the robot's units."""
        return Prediction(self.surrogate.outputs(batch), batch.actions, batch.mask[..., None])

    def predict_step(self, batch: DemonstrationBatch, batch_idx: int) -> Tensor:
        """(B, C, A): chunks of actions."""
        return self.surrogate.outputs(batch)

    def _evaluate(self, batch: DemonstrationBatch) -> None:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # the same noise in every evaluation
            torch.manual_seed(int(batch.index[0]) if len(batch.index) else 0)
            prediction = self.predict_batch(batch)
            loss = self.surrogate.net.learn(self.surrogate.window(batch))  # type: ignore[operator]
        values = self.measure(prediction, batch) | {"loss": loss.expand(len(batch))}
        self._evaluation.add(values)
        self._profiles.add(self.profile_batch(prediction, batch))

    def measure(self, prediction: Prediction, batch: DemonstrationBatch) -> dict[str, Tensor]:
        """Means over the actions of each window that count."""
        off = (prediction.output - prediction.target).float()
        mask = batch.mask.to(off.dtype)
        count = mask.sum(1)
        found = {
            "action_l1": (off.abs().mean(-1) * mask).sum(1) / count,
            "action_l2": (off.norm(dim=-1) * mask).sum(1) / count,
            "first_action_l1": off[:, 0].abs().mean(-1),
        }
        return {name: found[name] for name in self.metrics}

    def profile_batch(self, prediction: Prediction, batch: DemonstrationBatch) -> dict[str, Tensor]:
        """Absolute errors of each number of an action, and of each action of a chunk."""
        off = (prediction.output - prediction.target).float().abs()
        mask = batch.mask.to(off.dtype)[..., None]
        return {
            "number_l1": (off * mask).sum(1) / mask.sum(1),
            "step_l1": (off * mask).mean(-1),
            "step_share": mask[..., 0],
        }

    # -- report ----------------------------------------------------------------------------

    def report_sections(
        self, batch: DemonstrationBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.robotics.policy_figures import report_sections

        about = self.surrogate.description
        profiles = self.profiles.get("validation", {})
        return [] if about is None else report_sections(about, prediction, profiles)
