"""Quantiles from any forecaster: one that forecasts several values for each step."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.registry import create_model, find
from surform.uncertainty.residuals import check_levels

__all__ = ["Quantiles"]


class Quantiles(nn.Module):
    """History (b, l, v) -> quantiles (q, b, h, v): a forecaster of h * q steps, q for each step.

    The forecaster inside is built for the longer horizon, and covariates of the future are
    repeated q times; it needs no change for it. Quantiles are sorted, so that they never cross
    (Chernozhukov, Fernández-Val, Galichon, "Quantile and probability curves without crossing",
    2010, arXiv 0704.3649). Train it with the loss `quantile`.

    Args:
        lookback, horizon: steps given (L) and steps forecast (H).
        base: name of the registered forecaster.
        options: its other arguments.
        levels: of the quantiles, increasing, symmetric about 0.5, which is one of them.
        variates, marks, known, static: sizes of the data; the forecaster gets those that it takes.
            In configurations null, or nothing, stands for what the data give.
    """

    covariates: tuple[str, ...]
    from_data: ClassVar[tuple[str, ...]] = (
        *("lookback", "horizon", "variates"),
        *("marks", "known", "static"),
    )

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 96,
        *,
        base: str = "itransformer",
        options: dict[str, Any] | None = None,
        levels: Sequence[float] = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975),
        variates: int | None = None,
        marks: int | None = None,
        known: int | None = None,
        static: int | None = None,
    ) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon)
        self.lookback, self.horizon, self.levels = lookback, horizon, check_levels(levels)
        if 0.5 not in self.levels:
            raise ValueError(f"levels must hold 0.5, the forecast itself, got {self.levels}")
        sizes = {"variates": variates, "marks": marks, "known": known, "static": static}
        sizes |= {"lookback": lookback, "horizon": horizon * len(self.levels)}
        self.net = _built(base, sizes, options or {})
        self.covariates = tuple(getattr(self.net, "covariates", ()))

    def forward(
        self, history: Float[Tensor, "b l v"], **covariates: Tensor
    ) -> Float[Tensor, "q b h v"]:
        """The quantiles, in the units of the history, in the order of the levels."""
        return self._quantiles(self.net(history, **self._stretched(covariates)))

    def forecast_and_penalty(
        self, history: Float[Tensor, "b l v"], **covariates: Tensor
    ) -> tuple[Float[Tensor, "q b h v"], Tensor | None]:
        """The quantiles, and what the forecaster inside adds to the training loss, if anything."""
        if not hasattr(self.net, "forecast_and_penalty"):
            return self(history, **covariates), None
        inside: Any = self.net
        found, penalty = inside.forecast_and_penalty(history, **self._stretched(covariates))
        return self._quantiles(found), penalty

    def _quantiles(self, forecast: Tensor) -> Tensor:
        parts = forecast.unflatten(1, (self.horizon, len(self.levels)))  # (b, h, q, v)
        return parts.permute(2, 0, 1, 3).sort(0).values

    def _stretched(self, covariates: dict[str, Tensor]) -> dict[str, Tensor]:
        """Covariates with each future step once for every level."""
        count, found = len(self.levels), dict(covariates)
        if "future_marks" in found:
            found["future_marks"] = found["future_marks"].repeat_interleave(count, 1)
        if "known" in found:
            past, future = found["known"].split((self.lookback, self.horizon), 1)
            found["known"] = torch.cat((past, future.repeat_interleave(count, 1)), 1)
        return found


def _built(base: str, sizes: dict[str, int | None], options: dict[str, Any]) -> nn.Module:
    taken = inspect.signature(find("models", base)).parameters
    for name in options:
        if name not in taken or name in sizes:
            valid = [other for other in taken if other not in sizes]
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"did you mean {near[0]}?" if near else f"valid are {', '.join(valid)}"
            raise ValueError(f"options: {base} takes no option {name!r} here: {hint}")
    given = {n: value for n, value in sizes.items() if n in taken and value is not None}
    return create_model(base, **given, **options)
