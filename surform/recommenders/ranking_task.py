"""Training of rankers on tables of interactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_stream import StreamSamples
from surform.data.loaders import gather_objects
from surform.layers.checks import at_least
from surform.recommenders.feature_tables import FeatureTables
from surform.recommenders.ranker import Ranker
from surform.recommenders.split_scores import BY_GROUP, FIGURES, SplitScores
from surform.recommenders.truth import attainable, true_chances
from surform.reports.page import Section
from surform.training.binary_cross_entropy import BinaryCrossEntropy
from surform.training.parameter_groups import decay_groups
from surform.training.prediction import Prediction
from surform.training.schedules import Cosine, Schedule
from surform.training.tables_apart import TABLE, TablesApart
from surform.training.task import Task

__all__ = ["RankingTask"]


class RankingTask(Task):
    """Train a ranker: one probability per label of a row, labels that are unknown left out.

    Figures are those of a whole split, averaged over the labels. Biases and norms are not decayed.

    Args:
        net: a registered ranker: hiformer, autoint, dcn_v2, dlrm, logistic_regression.
        loss: module `loss(prediction, batch) -> scalar` of logits and labels.
        optimizer: makes the optimizer from the trained parameters; `TablesApart` gives embedding
            tables one of their own.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: auc, log_loss, normalized_entropy, calibration, calibration_error; and, where the
            data have groups, group_auc, ndcg and recall of lists.
        monitor: the metric by which the best checkpoint is chosen.
        k: length of the lists of ndcg and recall.
        table_decay: weight decay of embedding tables; null: that of the other weights.
        truth: column of the true probabilities, in logs that a solver made: the run then tells how
            much of the attainable AUC it reaches.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 2048
    own_metrics: ClassVar[tuple[str, ...]] = (*FIGURES, *BY_GROUP)
    surrogate: Ranker

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = BinaryCrossEntropy(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=1e-3, weight_decay=1e-5
        ),
        schedule: Schedule = Cosine(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("auc", "log_loss", "normalized_entropy", "calibration"),
        monitor: str = "auc",
        k: int = 10,
        table_decay: float | None = None,
        truth: str | None = None,
    ) -> None:
        super().__init__(
            Ranker(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        at_least(1, k=k)
        if table_decay is not None and not table_decay >= 0:
            raise ValueError(f"table_decay is {table_decay}, but must not be negative")
        self.k, self.table_decay, self.truth = k, table_decay, truth
        self._scores = SplitScores(k)
        self._chances: dict[str, Any] = {}

    # -- setup -----------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        own, numbers = self.surrogate.description, self.surrogate.dense
        data: Any = getattr(self.trainer, "datamodule", None)
        if own is not None and stage != "fit" and hasattr(data, "read_as"):
            data.read_as(own)  # categories have the numbers that the model knows them by
        super().setup(stage)
        about = self.surrogate.description
        if own is not None and about is not None and own.reads_like(about):
            self.surrogate.dense = numbers  # goes on with the statistics that it was trained with
            self.surrogate.description = about if stage == "fit" else own
        if about is None:
            raise ValueError("rankers are trained on tables: set data.class_path to interactions")
        by_group = [name for name in self.metrics if name in BY_GROUP]
        if by_group and not about.group:
            raise ValueError(f"{by_group[0]} is a figure by group: name a column with data.group")
        used = (*about.categorical, *about.multivalued, *about.dense)
        if self.truth in used:
            raise ValueError(
                f"{self.truth} tells the model the true probabilities: leave it out of the "
                f"features with data.ignore [{self.truth}]"
            )

    def trained(self) -> list[Any]:
        """Embedding tables, marked, apart from the groups of other weights."""
        net = self.surrogate.net
        tables = embedding_tables(net)
        own = {id(table) for table in tables}
        groups = []
        for group in decay_groups(net):
            rest = [weight for weight in group["params"] if id(weight) not in own]
            if rest:
                groups.append(group | {"params": rest})
        if tables:
            decay = {} if self.table_decay is None else {"weight_decay": self.table_decay}
            groups.append({"params": tables, TABLE: True, **decay})
        return groups

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        sparse = any(getattr(module, "sparse", False) for module in self.surrogate.net.modules())
        if sparse and not isinstance(found["optimizer"], TablesApart):
            raise ValueError(
                "the network's tables have sparse gradients (sparse_tables), which "
                f"{type(found['optimizer']).__name__} does not take: set model.optimizer to "
                "TablesApart"
            )
        return found

    # -- batches ---------------------------------------------------------------------------

    def predict_batch(self, batch: InteractionsBatch) -> Prediction:
        """Logits (B, T) beside labels; the weight is 0 where a label is unknown."""
        logits = self.surrogate(**batch.inputs())
        if batch.labels.shape[1] != logits.shape[1]:
            raise ValueError(
                f"the network has {logits.shape[1]} tasks, the rows {batch.labels.shape[1]} labels"
            )
        known = ~batch.labels.isnan()
        target = batch.labels.nan_to_num(0.0).to(logits.dtype)
        return Prediction(logits, target, known.to(logits.dtype))

    def predict_step(self, batch: InteractionsBatch, batch_idx: int) -> Tensor:
        """(B, T): probabilities of the labels."""
        return self.surrogate.outputs(batch)

    def measure(self, prediction: Prediction, batch: InteractionsBatch) -> dict[str, Tensor]:
        """Nothing of single rows: all figures are those of the split."""
        return {}

    def keep(self, prediction: Prediction, batch: InteractionsBatch) -> None:
        chances = prediction.output.float().sigmoid()
        self._scores.add(batch.index, chances, batch.labels, batch.group)

    # -- whole splits ----------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._scores = SplitScores(self.k)

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._scores = SplitScores(self.k)

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Figures of the split; calibration tables as profiles."""
        shares = gather_objects(self._scores.parts)
        scores = SplitScores(self.k, [part for share in shares for part in share])
        figures = scores.figures(self.metrics) | self._attained(scores, stage)
        found = {name: torch.tensor(value).double() for name, value in figures.items()}
        tables = scores.calibration_rows()
        return found | {name: torch.from_numpy(table) for name, table in tables.items()}

    def _attained(self, scores: SplitScores, stage: str) -> dict[str, float]:
        """Beside the true probabilities of the first label, where they are known."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if self.truth is None or data is None:
            return {}
        if stage not in self._chances:
            self._chances[stage] = true_chances(data, stage, self.truth)
        index, chances, labels, _ = scores.rows()
        first = SplitScores(self.k, [(index, chances[:, :1], labels[:, :1], index[:0])])
        own = first.figures(["auc"])["auc"]
        return attainable(labels[:, 0], self._chances[stage][index], own)

    # -- report ----------------------------------------------------------------------------

    def showcase(self, loader: Any) -> InteractionsBatch:
        """Rows from all over the validation split; of rows that stay in files the first ones."""
        if isinstance(loader.dataset, StreamSamples):
            return next(iter(loader))
        return super().showcase(loader)

    def report_sections(
        self, batch: InteractionsBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.recommenders.ranking_figures import report_sections
        from surform.recommenders.simple_rankers import compared_rows

        data: Any = getattr(self.trainer, "datamodule", None)
        rows = [] if data is None else compared_rows(self.surrogate, data)
        return report_sections(self.surrogate, batch, self.profiles.get("validation", {}), rows)


def embedding_tables(net: nn.Module) -> list[nn.Parameter]:
    """The tables of a ranker's features."""
    found = (module.table for module in net.modules() if isinstance(module, FeatureTables))
    return [table for table in found if isinstance(table, nn.Parameter) and table.requires_grad]
