"""Figures of a forecaster over many windows: errors, scaled errors, quality of its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from surform.uncertainty.scores import covered, interval_score, quantile_crps

__all__ = ["FIGURES", "ForecastScores", "seasonal_scale"]

# name -> what it is, for tables and reports
FIGURES = {
    "mse": "mean squared error, standardised",
    "mae": "mean absolute error, standardised",
    "mase": "mean absolute error over that of the seasonal naive forecast on the training rows",
    "crps": "continuous ranked probability score of the quantiles, standardised",
    "coverage_80": "share of values inside the 80 % interval",
    "coverage_90": "share of values inside the 90 % interval",
    "width_90": "width of the 90 % interval, standardised",
    "interval_score_90": "Winkler score of the 90 % interval, standardised",
}


@dataclass
class ForecastScores:
    """Means over windows, kept per horizon step and target, in float64.

    Args:
        std: `(V,)` standard deviations of the targets' training rows, in physical units.
        scale: `(V,)` the targets' `seasonal_scale`, in physical units.
        levels: levels of the quantiles; empty without quantiles.
    """

    std: Tensor
    scale: Tensor
    levels: Sequence[float] = ()
    windows: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, output: Tensor, target: Tensor, quantiles: Tensor | None = None) -> None:
        """Take a batch in physical units.

        Args:
            output: `(B, H, V)`; target: likewise; quantiles: `(levels, B, H, V)`.

        Raises:
            ValueError: another shape than the targets have, which would be broadcast.
        """
        if output.shape != target.shape:
            raise ValueError(
                f"the forecast has the shape {tuple(output.shape)}, the targets "
                f"{tuple(target.shape)}: a model is scored on the targets of its training"
            )
        error = (output - target).double().cpu()
        std = self.std.double().cpu()
        found = {
            "mse": (error / std).square(),
            "mae": (error / std).abs(),
            "mase": error.abs() / self.scale.double().cpu(),
        }
        if quantiles is not None:
            found |= self._of_quantiles(quantiles.double().cpu() / std, target.double().cpu() / std)
        for name, values in found.items():
            total = values.sum(0)
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.windows += len(error)

    def _of_quantiles(self, quantiles: Tensor, target: Tensor) -> dict[str, Tensor]:
        found = {"crps": quantile_crps(quantiles, target, self.levels)}
        found |= {
            f"below_{level:g}": (target <= quantile).to(target.dtype)
            for level, quantile in zip(self.levels, quantiles, strict=True)
        }
        for coverage in (0.8, 0.9):
            pair = self._pair(coverage)
            if pair is None:
                continue
            lower, upper = (quantiles[place] for place in pair)
            percent = round(100 * coverage)
            found[f"coverage_{percent}"] = covered(lower, upper, target)
            if percent == 90:
                found["width_90"] = upper - lower
                found["interval_score_90"] = interval_score(lower, upper, target, coverage)
        return found

    def _pair(self, coverage: float) -> tuple[int, int] | None:
        tail = (1 - coverage) / 2
        places = [i for i, level in enumerate(self.levels) if abs(level - tail) < 1e-9]
        return (places[0], len(self.levels) - 1 - places[0]) if places else None

    def means(self) -> dict[str, float]:
        """One number per figure: the mean over windows, steps and targets.

        Raises:
            ValueError: no window was added.
        """
        return {n: float(t.mean()) for n, t in self._averages().items() if n in FIGURES}

    def calibration(self) -> list[tuple[float, float]]:
        """(level, share of values at or below that quantile): equal for honest quantiles."""
        means = self._averages()
        return [(level, float(means[f"below_{level:g}"].mean())) for level in self.levels]

    def by_step(self) -> dict[str, list[float]]:
        """Means over windows and targets, per horizon step."""
        return {n: t.mean(1).tolist() for n, t in self._averages().items() if n in FIGURES}

    def by_target(self) -> dict[str, list[float]]:
        """Means over windows and steps, per target."""
        return {n: t.mean(0).tolist() for n, t in self._averages().items() if n in FIGURES}

    def _averages(self) -> dict[str, Tensor]:
        if not self.windows:
            raise ValueError("there are no windows to score")
        return {name: total / self.windows for name, total in self.sums.items()}


def seasonal_scale(
    series: Sequence[Tensor], season: int, names: Sequence[str] = ()
) -> Float[Tensor, " v"]:
    """Mean |y_t - y_(t - season)| over the rows `(n, V)` of all series, the denominator of MASE.

    Hyndman, Koehler, "Another look at measures of forecast accuracy" (2006). Pairs that lack a
    value are left out. A variate that never changes has the scale 1, so that its error stays
    finite.

    Args:
        names: of the variates, for errors.

    Raises:
        ValueError: a variate has no two values a season apart.
    """
    total, count = torch.zeros((2, series[0].shape[1]), dtype=torch.float64)
    for rows in series:
        change = (rows[season:].double() - rows[:-season].double()).abs()
        total += change.nansum(0)
        count += (~change.isnan()).sum(0)
    if not bool((count > 0).all()):
        place = int((count == 0).nonzero()[0])
        name = names[place] if names else f"variate {place}"
        longest = max(map(len, series))
        raise ValueError(
            f"the training rows, {longest} of a series at most, hold no two values of {name} that "
            f"are a season of {season} steps apart: give a shorter --season"
        )
    return torch.where(total > 0, total / count, torch.ones_like(total))
