"""Training of forecasters: loss and figures on standardised values, as published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from surform.data.series_batch import SeriesBatch
from surform.forecasting.contestants import batches_of
from surform.forecasting.forecaster import Forecaster
from surform.reports.page import Section
from surform.training.evaluation import Evaluation
from surform.training.losses import MeanSquaredError
from surform.training.metrics import METRICS
from surform.training.prediction import Prediction
from surform.training.quantile_loss import QuantileLoss
from surform.training.schedules import Halving, Schedule
from surform.training.task import Task
from surform.uncertainty import Conformal
from surform.uncertainty.conformal import LEVELS
from surform.uncertainty.residuals import windows_needed

__all__ = ["ForecastTask"]


class ForecastTask(Task):
    """Train a network on windows of multivariate series.

    Loss and metrics see values standardised by mean and deviation of the training rows, which is
    the convention of all published figures. Figures are averaged over all windows, steps and
    target variates alike.

    Args:
        net: a registered forecaster, e.g. itransformer.
        loss: module `loss(prediction, batch) -> scalar`.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: what is computed on whole splits, on standardised values.
        physical_metrics: metrics in the units of the data, logged as `mae_physical`, ...; they
            mean something where all targets share one unit.
        monitor: the metric by which the best checkpoint is chosen.
        intervals: let the model that the run leaves behind forecast quantiles, too: conformal
            ones, from its errors on the validation windows. A network that gives quantiles keeps
            its own.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    surrogate: Forecaster

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = MeanSquaredError(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: Adam(params, lr=1e-4),
        schedule: Schedule = Halving(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        metrics: Sequence[str] = ("mse", "mae"),
        physical_metrics: Sequence[str] = (),
        monitor: str = "mse",
        intervals: bool = True,
    ) -> None:
        super().__init__(
            Forecaster(net),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        unknown = [name for name in physical_metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METRICS)}")
        if isinstance(loss, QuantileLoss) != bool(self.surrogate.levels):
            raise ValueError(
                f"the loss is {type(loss).__name__} and the network {type(net).__name__}: the loss "
                "quantile and the network quantiles go together (--model.loss quantile, "
                "--model.net quantiles --model.net.base NAME)"
            )
        self.physical_metrics = tuple(physical_metrics)
        self.intervals = intervals
        self._around: Callable[..., Tensor] | None = None  # of the calibrated model

    def predict_batch(self, batch: SeriesBatch) -> Prediction:
        """The standardised forecast, with the network's own penalty in training."""
        history, covariates = batch.history, batch.covariates()
        model, levels = self.surrogate, self.surrogate.levels
        target = model.normalize_targets(batch.targets, batch.statistics)
        if self.training:
            found, penalty = model.normalized_and_penalty(history, **covariates)
        elif levels:
            found, penalty = model.normalized_quantiles(history, **covariates), None
        else:
            found, penalty = model.normalized(history, **covariates), None
        return Prediction(
            model.central(found),
            target,
            penalty=penalty,
            quantiles=found if levels else None,
            levels=levels,
        )

    def predict_step(self, batch: SeriesBatch, batch_idx: int) -> Tensor:
        """The forecast in physical units."""
        return self.surrogate.outputs(batch)

    def exported(self) -> Forecaster | Conformal:
        """The forecaster with intervals, as its errors on the validation windows have them; one
        that was trained to give quantiles as it is.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None or not self.intervals or self.surrogate.levels:
            return self.surrogate
        held = "validation" in data.split_rows()[0]
        windows: Any = data.windows("validation") if held else []
        needed = windows_needed(LEVELS)
        if len(windows) < needed:
            self.remarks.append(
                f"The model gives no quantiles: of the {needed} validation windows that it takes "
                f"to learn them, the data have {len(windows)}."
            )
            return self.surrogate
        calibrated = Conformal(self.surrogate)
        batches = batches_of(windows, data.eval_batch_size)
        calibrated.calibrate(batch.to(self.device) for batch in batches)
        self._around = calibrated.around
        return calibrated

    def figure_names(self) -> tuple[str, ...]:
        return (*super().figure_names(), *(f"{name}_physical" for name in self.physical_metrics))

    def protocol_of(self, stage: str) -> str:
        """Published habits leave out test windows; validation counts all under either protocol."""
        return self.protocol if stage == "test" else "clean"

    def new_evaluation(self) -> Evaluation:
        """Means over all windows: published habits differ in which windows they leave out only."""
        return Evaluation()

    def measure(self, prediction: Prediction, batch: SeriesBatch) -> dict[str, Tensor]:
        """Figures per window, `(B,)`, by name."""
        figures = super().measure(prediction, batch)
        if self.physical_metrics:
            physical = self._physical(prediction, batch)
            names = self.physical_metrics
            figures |= {f"{name}_physical": METRICS[name](physical, batch) for name in names}
        return figures

    def profile_batch(self, prediction: Prediction, batch: SeriesBatch) -> dict[str, Tensor]:
        """Errors by step of the horizon and by target, beside those of repeating the last value."""
        prediction = prediction.float()
        squared = prediction.squared_error
        last = self.surrogate.last_targets(batch.history)
        repeated = (
            self.surrogate.normalize_targets(last, batch.statistics) - prediction.target
        ).square()
        return {
            "mse_by_step": squared.mean(2),
            "mse_by_variate": squared.mean(1),
            "mae_physical_by_variate": self._physical(prediction, batch).absolute_error.mean(1),
            "persistence_mse_by_step": repeated.mean(2),
            "persistence_mse_by_variate": repeated.mean(1),
        }

    def showcase(self, loader: Any) -> SeriesBatch:
        """Windows from the whole split: neighbours differ by one step only."""
        windows = loader.dataset
        count = min(3, len(windows))
        return windows[[round((k + 0.5) * len(windows) / count - 0.5) for k in range(count)]]

    def report_sections(
        self, batch: SeriesBatch, prediction: Prediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.forecasting.figures import report_sections

        about = self.surrogate.description
        if about is None:
            return []
        profiles = self.profiles.get("validation", {})
        physical, bounds = self._physical(prediction, batch), None
        levels, learnt = self.surrogate.levels, "learnt from this split"
        if self._around is not None:
            bounds = self._around(physical.output, self.surrogate.error_scale(batch))
            levels = LEVELS
        elif levels and prediction.quantiles is not None:
            bounds = self.surrogate.denormalize_targets(prediction.quantiles, batch.statistics)
            learnt = "learnt in training"
        band = None
        if bounds is not None and {0.05, 0.95} <= set(levels):
            band = (bounds[levels.index(0.05)], bounds[levels.index(0.95)])
        return report_sections(about, batch, physical, profiles, labels, band, learnt)

    def _physical(self, prediction: Prediction, batch: SeriesBatch) -> Prediction:
        output, target = (
            self.surrogate.denormalize_targets(values, batch.statistics)
            for values in (prediction.output, prediction.target)
        )
        return Prediction(output, target)
