"""Training of one trunk on the demonstrations of several robots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.embodiments_module import EmbodimentBatch
from surform.reports.page import Section
from surform.robotics.embodied_policy import EmbodiedPolicy
from surform.robotics.policy_task import NetworkLoss
from surform.training.parameter_groups import decay_groups
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule
from surform.training.task import Task

__all__ = ["EmbodiedTask"]

_METRICS = ("action_l1", "first_action_l1")


class EmbodiedTask(Task):
    """Train policies of several robots on windows of all of them, by the losses of their heads.

    Each robot counts by its windows in the batch. Figures are of actions in the robots' limits,
    where each number lies in [-1, 1], so that robots of different units can be put together.

    Args:
        net: hpt_embodiments.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights, (1 + n) / (10 + n) at most after
            step n; 0 keeps none.
        metrics: action_l1, first_action_l1: mean absolute errors on held-out episodes.
        monitor: the metric by which the best checkpoint is chosen.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 128
    own_metrics: ClassVar[tuple[str, ...]] = _METRICS
    ema_warm: ClassVar[bool] = True
    surrogate: EmbodiedPolicy

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=3e-4, weight_decay=1e-6
        ),
        schedule: Schedule = Cosine(),  # noqa: B008  stateless; shows up in configurations
        ema_decay: float = 0.0,
        metrics: Sequence[str] = _METRICS,
        monitor: str = "action_l1",
    ) -> None:
        super().__init__(
            EmbodiedPolicy(net),
            loss=NetworkLoss(),
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            metrics=metrics,
            monitor=monitor,
        )

    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net)

    def training_loss(self, batch: EmbodimentBatch) -> tuple[Prediction, Tensor]:
        actions = batch.index  # nothing is sampled in training
        return Prediction(actions, actions), self._loss(batch)

    def predict_batch(self, batch: EmbodimentBatch) -> Prediction:
        """Chunks beside those of the demonstrations, in their limits; 0 where a robot has less."""
        net: Any = self.surrogate.net
        chunk = max(robot.chunk for robot in net.robots.values())
        width = max(robot.action_dim for robot in net.robots.values())
        rows = torch.cat(list(batch.rows.values())).argsort()
        parts = [self._beside(name, part, chunk, width) for name, part in batch.parts.items()]
        output, target, weight = (torch.cat(each)[rows] for each in zip(*parts, strict=True))
        return Prediction(output, target, weight)

    def measure(self, prediction: Prediction, batch: EmbodimentBatch) -> dict[str, Tensor]:
        """Means over the actions of each window that count, and over their numbers."""
        assert prediction.weight is not None
        weight = prediction.weight
        off = (prediction.output - prediction.target).abs() * weight
        found = {
            "action_l1": off.sum((1, 2)) / weight.sum((1, 2)),
            "first_action_l1": off[:, 0].sum(-1) / weight[:, 0].sum(-1),
        }
        return {name: found[name] for name in self.metrics}

    def _evaluate(self, batch: EmbodimentBatch) -> None:
        values = self.measure(self.predict_batch(batch), batch)
        self._evaluation.add(values | {"loss": self._loss(batch).expand(len(batch))})

    def report_sections(
        self, batch: EmbodimentBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.robotics.policy_figures import report_sections

        found: list[Section] = []
        for name, part in batch.parts.items():
            robot = self.surrogate.robot(name)
            about = robot.description
            assert about is not None
            shown = Prediction(robot.outputs(part), part.actions, part.mask[..., None])
            for section in report_sections(about, shown, {}):
                found.append(replace(section, title=f"{name}: {section.title.lower()}"))
        return found

    def _loss(self, batch: EmbodimentBatch) -> Tensor:
        net: Any = self.surrogate.net
        losses = [
            net[name].learn(self.surrogate.window(name, part)) * (len(part) / len(batch))
            for name, part in batch.parts.items()
        ]
        return torch.stack(losses).sum()

    def _beside(
        self, name: str, part: DemonstrationBatch, chunk: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output, target and weight of one robot, filled up to (b, chunk, width)."""
        robot: Any = self.surrogate.net[name]  # type: ignore[index]
        window = self.surrogate.window(name, part)
        limits = robot.limits["action"]
        both = limits.normalize(robot.answer(window)), limits.normalize(window.actions)
        counts = window.mask[..., None].to(both[0].dtype).expand_as(both[0])
        more = (0, width - robot.action_dim, 0, chunk - robot.chunk)
        output, target, weight = (F.pad(each, more) for each in (*both, counts))
        return output, target, weight
