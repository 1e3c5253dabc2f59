"""A forecaster in physical units: network, normalisers of its series, and their description."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.data.series_batch import SeriesBatch
from surform.data.series_description import SeriesDescription
from surform.hub.pretrained import Pretrained

__all__ = ["Forecaster"]


class Forecaster(Pretrained):
    """The look-back of several variates in, the horizon of the targets out, in physical units.

    Args:
        net: a registered forecaster, `net(history, **covariates) -> (B, H, V)` in standardised
            units; it gets the covariates that its class names in `covariates`, no others. It may
            give the target variates only. A network with a loss of its own (a balance of experts)
            has `forecast_and_penalty(history, **covariates) -> (forecast, scalar)` as well. One
            with an attribute `levels` gives quantiles `(levels, B, H, V)`.
    """

    kind: ClassVar[str] = "series"
    usage: ClassVar[str] = (
        "forecast = model.predict(frame)  # a pandas.DataFrame (or a file) in, one out"
    )
    file_options: ClassVar[tuple[str, ...]] = (
        *("batch_size", "time", "time_format", "id", "delimiter", "header", "decimal"),
        *("fill", "fill_limit", "gaps", "levels"),
    )
    description: SeriesDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer()
        self.known_normalizer = Normalizer()
        self.static_normalizer = Normalizer()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> SeriesDescription:
        return SeriesDescription.from_dict(values)

    def fit_to(
        self,
        description: SeriesDescription,
        variates: Normalizer,
        known: Normalizer | None = None,
        static: Normalizer | None = None,
    ) -> None:
        """Take over the description and the fitted normalisers of the training data.

        Raises:
            ValueError: statistics that do not fit, or covariates that the network does not take.
        """
        for name in ("known", "static"):
            columns = getattr(description, name)
            if columns and name not in self._covariates:
                raise ValueError(
                    f"{type(self.net).__name__} takes no `{name}` covariates ({', '.join(columns)})"
                    f": leave data.{name} out, or choose a network that does, such as itransformer"
                )
        self.description = description
        self.normalizer = variates
        self.known_normalizer = known if known is not None else _identity()
        self.static_normalizer = static if static is not None else _identity()
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics do not fit the described variates and covariates."""
        about = self.description
        if about is None:
            return
        counts = {"normalizer": about.variates, "known_normalizer": about.known}
        counts |= {"static_normalizer": about.static}
        for name, columns in counts.items():
            found = tuple(self.normalizers()[name].mean.shape)
            if found not in ((), (len(columns),)):
                raise ValueError(
                    f"the statistics of {name} have shape {found}, the data {len(columns)} columns"
                )

    def forward(
        self,
        history: Float[Tensor, "b l v"],
        *,
        past_marks: Float[Tensor, "b l m"] | None = None,
        future_marks: Float[Tensor, "b h m"] | None = None,
        known: Float[Tensor, "b t k"] | None = None,
        static: Float[Tensor, "b s"] | None = None,
        statistics: Float[Tensor, "b 2 v"] | None = None,
    ) -> Float[Tensor, "b h o"]:
        """Forecast the targets: physical units in, physical units out.

        Args:
            history: all variates over the look-back, oldest step first.
            past_marks, future_marks: calendar features of look-back and horizon.
            known: covariates known ahead, over look-back and horizon.
            static: what does not change along a series.
            statistics: mean and deviation of the variates in each window's series, for models of
                data with `normalize="series"`.
        """
        output = self.normalized(
            history, past_marks=past_marks, future_marks=future_marks, known=known, static=static,
            statistics=statistics,
        )  # fmt: skip
        return self.denormalize_targets(output, statistics)

    @property
    def levels(self) -> tuple[float, ...]:
        """Of the quantiles that the network gives; () for one that gives none."""
        return tuple(getattr(self.net, "levels", ()))

    def normalized(
        self, history: Float[Tensor, "b l v"], **covariates: Tensor | None
    ) -> Float[Tensor, "b h o"]:
        """As `forward`, but standardised as the loss sees it."""
        return self.central(self._answer(history, covariates)[0])

    def normalized_and_penalty(
        self, history: Float[Tensor, "b l v"], **covariates: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What the network gives, standardised, a forecast `(B, H, V)` or, where it has `levels`,
        quantiles `(levels, B, H, V)`; beside what it adds to the training loss of its own accord.
        """
        return self._answer(history, covariates, training=True)

    def normalized_quantiles(
        self, history: Float[Tensor, "b l v"], **covariates: Tensor | None
    ) -> Float[Tensor, "q b h o"]:
        """Quantiles, standardised; for networks that have `levels`."""
        return self._answer(history, covariates)[0]

    def central(self, found: Tensor) -> Float[Tensor, "b h o"]:
        """The forecast among what the network gives: of quantiles the median."""
        return found[self.levels.index(0.5)] if self.levels else found

    def quantiles(self, batch: SeriesBatch) -> Float[Tensor, "q b h o"]:
        """Physical quantiles of what is to come, in the order of `levels`, which must not be ()."""
        found = self.normalized_quantiles(batch.history, **batch.covariates())
        return self.denormalize_targets(found, batch.statistics)

    def _answer(
        self, history: Tensor, covariates: dict[str, Tensor | None], training: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The network's own output, its targets, and its penalty in training where it has one."""
        mean, std = self._moments(covariates.get("statistics"))
        given = (history - mean) / std, self._for_net(covariates)
        if training and hasattr(self.net, "forecast_and_penalty"):
            found, penalty = self.net.forecast_and_penalty(given[0], **given[1])  # type: ignore[operator]
        else:
            found, penalty = self.net(given[0], **given[1]), None
        return self._targets_of(found).to(history.dtype), penalty

    def normalize_targets(
        self, targets: Float[Tensor, "*b h o"], statistics: Float[Tensor, "b 2 v"] | None = None
    ) -> Float[Tensor, "*b h o"]:
        """Standardised targets, from physical ones; `statistics` as for `forward`."""
        mean, std = (self._targets_of(part) for part in self._moments(statistics))
        return (targets - mean) / std

    def denormalize_targets(
        self, targets: Float[Tensor, "*b h o"], statistics: Float[Tensor, "b 2 v"] | None = None
    ) -> Float[Tensor, "*b h o"]:
        """Physical targets, from standardised ones; `statistics` as for `forward`."""
        mean, std = (self._targets_of(part) for part in self._moments(statistics))
        return targets * std + mean

    def last_targets(self, history: Float[Tensor, "b l v"]) -> Float[Tensor, "b 1 o"]:
        """The last known values of the targets: the forecast of persistence."""
        return self._targets_of(history[:, -1:])

    def outputs(self, batch: SeriesBatch) -> Float[Tensor, "b h o"]:
        """The physical forecast of a batch of windows."""
        return self(batch.history, **batch.covariates())

    def error_scale(self, batch: SeriesBatch) -> Float[Tensor, "b 1 o"] | None:
        """How much the targets of each window's series change from row to row, where that is given.

        Tables of several series give it (see `SeriesBatch.scale`): small and large ones are then
        measured alike.
        """
        return None if batch.scale is None else batch.scale[:, None]

    def predict(self, source: Any, **options: Any) -> Any:
        """Forecast what follows the last row of every series; see `surform.forecasting.labelled`.

        Args:
            source: a pandas frame, an xarray dataset or the path of a file.
            options: of `surform.forecasting.labelled.predict`.
        """
        from surform.forecasting.labelled import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, from a file into a file; see `surform.forecasting.labelled_files`."""
        from surform.forecasting.labelled_files import predict_file

        return predict_file(self, source, out, **options)

    @property
    def _covariates(self) -> tuple[str, ...]:
        return getattr(self.net, "covariates", ())

    def _moments(self, statistics: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the variates, broadcasting against `(B, steps, V)`."""
        own = self.description is not None and self.description.normalize == "series"
        if own != (statistics is not None):
            raise ValueError(
                "the model standardises each series by its own statistics: give `statistics`, the "
                "mean and deviation of each window's series (B, 2, V)"
                if own
                else "`statistics` are for models that standardise each series by its own"
            )
        if statistics is None:
            self.require_statistics()
            return self.normalizer.mean, self.normalizer.std
        return statistics[:, 0, None], statistics[:, 1, None]

    def _for_net(self, covariates: dict[str, Tensor | None]) -> dict[str, Tensor]:
        """The covariates that the network declares, standardised."""
        given = {n: v for n, v in covariates.items() if v is not None and n in self._covariates}
        for name, normalizer in (
            ("known", self.known_normalizer),
            ("static", self.static_normalizer),
        ):
            if name in given:
                given[name] = normalizer.normalize(given[name])
        return given

    def _targets_of(self, values: Tensor) -> Tensor:
        """The target columns of the last axis; all of it where it holds nothing else."""
        about = self.description
        if about is None or values.ndim == 0 or values.shape[-1] == len(about.targets):
            return values
        if values.shape[-1] != len(about.variates):
            raise ValueError(
                f"{type(self.net).__name__} gives {values.shape[-1]} variates: it must give the "
                f"{len(about.variates)} of its input, or the {len(about.targets)} targets"
            )
        columns = about.target_columns
        first, last = columns[0], columns[-1]
        if columns == tuple(range(first, last + 1)):
            return values[..., first : last + 1]
        return values[..., list(columns)]


def _identity() -> Normalizer:
    return Normalizer(torch.zeros(()), torch.ones(()))
