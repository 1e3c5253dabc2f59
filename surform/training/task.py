"""The one training loop: a LightningModule that every domain's task extends by one method."""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.training.averaging import ExponentialAverage
from surform.training.checkpoint import require_same_weights, training_state, up_to_date
from surform.training.compiling import compile_in_place
from surform.training.evaluation import Evaluation
from surform.training.metrics import METRICS
from surform.training.monitors import check_monitors
from surform.training.parameter_groups import scale_rates
from surform.training.prediction import Prediction
from surform.training.randomness import seed_step
from surform.training.schedules import EpochSchedule, OneCycle, Schedule
from surform.training.sizes import require_sizes
from surform.training.two_passes import climbs, in_second_pass, prepare

if TYPE_CHECKING:
    import xarray as xr

    from surform.reports import Section

__all__ = ["OptimizerFactory", "Task"]

OptimizerFactory = Callable[[Iterable], Optimizer]


class Task(LightningModule):
    """Train and evaluate a surrogate; a domain overrides `predict_batch`.

    Args:
        surrogate: network, normalisers and description: what is trained, saved and used.
        loss: module `loss(prediction, batch) -> scalar`.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile` (needs a C++ compiler; without one the
            model runs as it is, with a warning).
        metrics: names from `surform.training.metrics.METRICS`, or of the domain's own figures,
            logged for whole splits.
        monitor: the metric by which the best checkpoint is chosen.
    """

    surrogate: Any  # a `surform.hub.pretrained.Pretrained` of the task's domain

    # What `surform predict` makes of a checkpoint: the predictions of all windows of a split
    # (`label_predictions`), or what the surrogate's own `predict_file` makes of a file.
    predicts: ClassVar[Literal["windows", "files"]] = "windows"

    # Whether the average of the weights looks back less at first; see `ExponentialAverage`.
    ema_warm: ClassVar[bool] = False

    # Samples in the report, spread over the validation split; None: those of its first batch.
    shown: ClassVar[int | None] = None

    # Figures that `split_figures` gives, beside the metrics of single samples.
    own_metrics: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        surrogate: nn.Module,
        loss: nn.Module,
        optimizer: OptimizerFactory = lambda params: AdamW(params, lr=1e-3, weight_decay=1e-4),
        schedule: Schedule | None = None,
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("relative_l2", "rmse", "vrmse", "correlation"),
        monitor: str = "relative_l2",
    ) -> None:
        super().__init__()
        choices = self.own_metrics or tuple(METRICS)
        unknown = [name for name in metrics if name not in choices]
        if unknown:
            raise ValueError(f"unknown metric {unknown[0]!r}: choose from {', '.join(choices)}")
        if monitor not in (*metrics, "loss"):
            raise ValueError(f"monitor {monitor!r} is not among the metrics {', '.join(metrics)}")
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {ema_decay}")
        self.surrogate = surrogate
        self.loss = loss
        self.optimizer_factory = optimizer
        self.schedule = schedule or OneCycle()
        self.ema_decay = ema_decay
        self.compile_net = compile
        self.metrics = tuple(metrics)
        self.monitor = monitor
        self.config: dict[str, Any] = {}
        self.run_seed: int | None = None
        self.protocol = "clean"
        self.profiles: dict[str, dict[str, list[float]]] = {}
        self.rehearsal = False  # whether a batch only shows what the last steps will take
        self.remarks: list[str] = []  # on the model a run leaves behind: printed, and reported
        self._evaluation = self._profiles = Evaluation()

    # -- for domains -----------------------------------------------------------------------

    @abstractmethod
    def predict_batch(self, batch: Any) -> Prediction:
        """Output and target of one batch: for the loss in training, physical otherwise."""

    def evaluate_batch(self, batch: Any) -> Prediction:
        """Output and target in physical units, as the metrics want them."""
        return self.predict_batch(batch)

    def measure(self, prediction: Prediction, batch: Any) -> dict[str, Tensor]:
        """Figures per sample, `(B,)`, by name: those that `figure_names` announces."""
        return {name: METRICS[name](prediction, batch) for name in self.metrics}

    def keep(self, prediction: Prediction, batch: Any) -> None:
        """Keep of an evaluated batch what `split_figures` needs."""

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """Figures that only all samples of a split together have; called once it is evaluated.

        Numbers are logged; rows of numbers are kept in `profiles[stage]`.
        """
        return {}

    def profile_batch(self, prediction: Prediction, batch: Any) -> dict[str, Tensor]:
        """Errors along an axis of the output, by name: per sample, `(B, n)`, kept for the report.

        Averaged over the split they are found in `profiles[stage][name]`.
        """
        return {}

    def loss_spans(self) -> dict[str, str]:
        """What the losses of "training" and "validation" are of, where these differ."""
        return {}

    def new_evaluation(self) -> Evaluation:
        """How figures are averaged over a split: under "paper" as the domain's publications do."""
        return Evaluation(self.protocol)

    def showcase(self, loader: Any) -> Any:
        """The batch that the report shows: `shown` samples from the whole validation split."""
        if self.shown is None:
            return next(iter(loader))
        samples = loader.dataset
        count = min(self.shown, len(samples))
        return samples[torch.linspace(0, len(samples) - 1, count).round().long().tolist()]

    def report_sections(
        self, batch: Any, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        """Pictures and tables of the domain for the report; the batch is what `showcase` chose.

        Args:
            labels: as for `label_predictions`.
        """
        return []

    def label_predictions(self, output: Tensor, batch: Any, labels: dict[str, Any]) -> xr.Dataset:
        """Predictions of one batch as labelled arrays with the dimension "sample".

        Args:
            output: what `predict_step` returned.
            labels: what the windows' data set says of them, each `(B,)`: where they come from.
        """
        raise NotImplementedError(f"{type(self).__name__} does not label predictions")

    # -- steps -----------------------------------------------------------------------------

    def training_loss(self, batch: Any) -> tuple[Prediction, Tensor]:
        """What a training step differentiates, and what it was computed from."""
        prediction = self.predict_batch(batch)
        loss = self.loss(prediction, batch)
        return prediction, loss if prediction.penalty is None else loss + prediction.penalty

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        prediction, loss = self.training_loss(batch)
        self._require_finite(loss, batch_idx)
        if self._shows_loss(batch_idx) and not in_second_pass(self.trainer):
            self.log("train/loss", loss, prog_bar=True, batch_size=len(prediction.target))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch)

    def trained(self) -> list[Any]:
        """What the optimizer is made from: parameters, or groups such as `decay_groups` gives."""
        return [p for p in self.parameters() if p.requires_grad]

    def exported(self) -> Any:
        """The model that a finished run leaves behind, with its best weights."""
        return self.surrogate

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.evaluate_batch(batch).output

    def _shows_loss(self, batch_idx: int) -> bool:
        """Whether anybody looks at this step's loss: handing it over costs half a millisecond."""
        trainer = self.trainer
        every = trainer.log_every_n_steps or trainer.num_training_batches  # type: ignore[attr-defined]
        counted = (self.global_step + 1) % every == 0 or trainer.is_last_batch
        return counted or batch_idx == 0 or trainer.progress_bar_callback is not None

    def _evaluate(self, batch: Any) -> None:
        prediction = self.evaluate_batch(batch)
        values = self.measure(prediction, batch)
        samples = len(prediction.target)
        values["loss"] = self.loss(prediction, batch).expand(samples)
        self._evaluation.add(values)
        self._profiles.add(self.profile_batch(prediction, batch))
        self.keep(prediction, batch)

    def _require_finite(self, loss: Tensor, batch_idx: int) -> None:
        # Reading the loss stalls a GPU, so it is looked at every step on the CPU only.
        if (loss.device.type == "cpu" or batch_idx % 50 == 0) and not torch.isfinite(loss):
            raise ValueError(
                f"the training loss became {loss.item()} at step {self.global_step}: "
                "lower the learning rate, or check the data with surform info"
            )

    # -- whole splits ----------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._evaluation, self._profiles = self.new_evaluation(), self.new_evaluation()

    def on_test_epoch_start(self) -> None:
        self._evaluation, self._profiles = self.new_evaluation(), self.new_evaluation()

    def on_validation_epoch_end(self) -> None:
        self._log_results("validation")

    def on_test_epoch_end(self) -> None:
        self._log_results("test")

    def _log_results(self, stage: str) -> None:
        results = self._evaluation.results(self._sum_over_processes)
        profiles = self._profiles.results(self._sum_over_processes)
        for name, value in self.split_figures(stage).items():
            (profiles if value.ndim else results)[name] = value
        if profiles and not self.trainer.sanity_checking:
            self.profiles[stage] = {name: values.tolist() for name, values in profiles.items()}
        for name, value in results.items():
            self.log(self.metric_key(stage, name), value.float(), prog_bar=name == self.monitor)

    def metric_key(self, stage: str, name: str) -> str:
        """The logged name of a figure: stage/metric/protocol."""
        return f"{stage}/{name}/{self.protocol_of(stage)}"

    def protocol_of(self, stage: str) -> str:
        """What the figures of a stage are labelled with."""
        return self.protocol

    def figure_names(self) -> tuple[str, ...]:
        """The figures of whole splits: what `measure` gives, and the loss."""
        return (*self.metrics, "loss")

    def _sum_over_processes(self, total: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return total
        return self.trainer.strategy.reduce(total.clone(), reduce_op="sum")

    # -- setup -----------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data: Any = getattr(self.trainer, "datamodule", None)
        self.protocol = getattr(data, "protocol", "clean")
        surrogate = self.surrogate
        if hasattr(data, "normalizers") and stage == "fit":
            surrogate.fit_to(data.description(), *data.normalizers())
        elif hasattr(data, "description"):  # the statistics are those of the training data
            surrogate.description = data.description()
        if surrogate.description is not None:
            require_sizes(surrogate.net, surrogate.description.sizes())
        if stage == "fit":
            check_monitors(self.trainer, self)
        if self.compile_net:
            compile_in_place(surrogate.net)

    def on_fit_start(self) -> None:
        if self.run_seed is None:
            self.run_seed = torch.initial_seed()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        seed_step(self.run_seed or 0, self.batches_seen, self.global_rank, self.device)

    @property
    def batches_seen(self) -> int:
        """Training batches since the run began, over all epochs and resumptions."""
        if self.rehearsal:
            return sys.maxsize
        return max(0, self.trainer.fit_loop.epoch_loop.total_batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.trained())
        scale_rates(optimizer)
        prepare(optimizer, self)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError("the schedule needs an end: set trainer.max_epochs or max_steps")
        steps = max(1, int(total))
        if isinstance(self.schedule, EpochSchedule):
            scheduler = self.schedule.build(optimizer, steps, self._steps_per_epoch())
        else:
            scheduler = self.schedule.build(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if climbs(optimizer):
            return
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None and gradient_clip_val:
            # Lightning refuses fused optimizers here, for the sake of a scaler that bfloat16 lacks.
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the training data."""
        trainer = self.trainer
        if trainer.train_dataloader is None:  # where training is counted in steps
            trainer.fit_loop.setup_data()
        batches = trainer.num_training_batches
        if batches == float("inf"):
            raise ValueError(
                f"{type(self.schedule).__name__} changes with the epoch, but the training data "
                "have no known length: take a schedule of steps, such as Cosine"
            )
        # the gradients of what remains at the end of an epoch are applied too
        return max(1, math.ceil(batches / trainer.accumulate_grad_batches))

    def configure_callbacks(self) -> list[Callback]:
        return [ExponentialAverage(self.ema_decay, self.ema_warm)] if self.ema_decay else []

    # -- checkpoints -----------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["surform_config"] = training_state(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stored = checkpoint.get("surform_config")
        if stored is None:
            raise ValueError("this checkpoint was not written by surform: it has no surform_config")
        stored = up_to_date(stored)
        self.run_seed = stored["seed"]
        if not self.trainer.strategy.restore_checkpoint_after_setup:  # else parameters are shards
            require_same_weights(checkpoint["state_dict"], self)
        check = getattr(getattr(self.trainer, "datamodule", None), "check", None)
        if check is not None and stored["description"] is not None:
            check(self.surrogate.read_description(stored["description"]))
