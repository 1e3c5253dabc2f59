"""Training of agents that learn in context: which action is best, seen from transitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.decisions_batch import DecisionBatch
from surform.decisions.agent import Agent
from surform.decisions.scores import Scores, scores_of
from surform.layers.checks import one_of
from surform.reports.page import Section
from surform.training.cross_entropy import CrossEntropy
from surform.training.prediction import Prediction
from surform.training.schedules import Constant, Schedule
from surform.training.task import Task

__all__ = ["InContextTask"]


class InContextTask(Task):
    """Train a network to say, after every number of transitions, which action to take.

    Validation and test play: the agent acts in the worlds of the split, beside the algorithms that
    it is compared with. Figures are means over worlds.

    Args:
        net: a registered network that decides in context, such as dpt.
        imitate: "optimal", the best action of the world, as DPT does, or its probabilities where
            the data tell them; or "collector", what the collecting algorithm did in that round
            (algorithm distillation), for in_context_bandit.
        loss: module `loss(prediction, batch) -> scalar` of logits and one-hot actions.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: accuracy (of the most probable action after all transitions) and, of what is
            played, regret and greedy_regret (of taking the most probable arm) in bandits, return
            (of the last episode) and first_return in worlds with states.
        monitor: the metric by which the best checkpoint is chosen.
    """

    own_metrics: ClassVar[tuple[str, ...]] = (
        "accuracy", "regret", "greedy_regret", "return", "first_return",
    )  # fmt: skip
    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 4
    surrogate: Agent

    def __init__(
        self,
        net: nn.Module,
        imitate: str = "optimal",
        loss: nn.Module = CrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-4
        ),
        schedule: Schedule = Constant(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("regret", "greedy_regret", "accuracy"),
        monitor: str = "regret",
    ) -> None:
        super().__init__(
            Agent(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        one_of("imitate", imitate, ("optimal", "collector"))
        if imitate == "collector" and getattr(net, "situation", "") != "arms":
            raise ValueError(
                f"imitate is 'collector', but {type(net).__name__} is asked about one state after "
                "any transitions: take imitate: optimal, or the network in_context_bandit"
            )
        self.imitate = imitate
        self._scores: Scores | None = None

    # -- batches ---------------------------------------------------------------------------

    def predict_batch(self, batch: DecisionBatch) -> Prediction:
        """Logits (B, m, A) beside probabilities of actions: after every number of transitions."""
        logits = self.surrogate.logits(batch)
        if self.imitate == "collector":
            if batch.chances is not None:
                raise ValueError(
                    "imitate is 'collector', but data.labels 'posterior' is of the best action: "
                    "take data.labels: optimal"
                )
            logits = logits[:, :-1]  # what came after the last round is not in the data
            wanted = batch.actions
        elif batch.chances is not None:
            return Prediction(logits, batch.chances)
        else:
            wanted = batch.optimal.unsqueeze(1).expand(logits.shape[:2])
        return Prediction(logits, F.one_hot(wanted, logits.shape[-1]).to(logits.dtype))

    def predict_step(self, batch: DecisionBatch, batch_idx: int) -> Tensor:
        """(B, A): probabilities of the actions after all transitions."""
        return self.surrogate.outputs(batch)

    # -- whole splits ----------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        about = self.surrogate.description
        if about is None:
            raise ValueError("agents are trained on worlds: set data.class_path to decisions")
        self._scores = scores_of(self.surrogate, about)
        lacking = [name for name in self.metrics if name not in self._scores.names]
        if lacking:
            raise ValueError(
                f"metric {lacking[0]} is not measured in {about.setting.name}: choose "
                f"{', '.join(self._scores.names)}"
            )

    def _evaluate(self, batch: DecisionBatch) -> None:
        assert self._scores is not None
        prediction = self.predict_batch(batch)
        found = self._scores.play(batch)
        right = prediction.output[:, -1].argmax(-1) == batch.optimal
        values = {"accuracy": right.to(prediction.output.dtype), **found.figures}
        compared = {n: v for n, v in values.items() if n in self.metrics or n in found.compared}
        compared["loss"] = self.loss(prediction, batch).expand(len(batch))
        self._evaluation.add(compared)
        self._profiles.add({n: torch.stack((v, v**2), -1) for n, v in found.curves.items()})

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """What compares means over the whole split."""
        assert self._scores is not None
        return self._scores.ratios(self._evaluation.results(self._sum_over_processes))

    def report_sections(
        self, batch: DecisionBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.decisions.decision_figures import report_sections

        data: Any = getattr(self.trainer, "datamodule", None)
        count = data.counts["validation"] if data is not None else 0
        profiles = self.profiles.get("validation", {})
        return report_sections(profiles, count, self.surrogate.description)
