"""Figures of a forecaster over many windows: errors, scaled errors, quality of its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.uncertainty.scores import covered, interval_score, quantile_crps

__all__ = ["FIGURES", "ForecastScores"]

# name -> what it is, for tables and reports
FIGURES = {
    "mse": "mean squared error, standardised",
    "mae": "mean absolute error, standardised",
    "mase": "mean absolute error over that of the seasonal naive forecast on the training rows of "
    "the same series",
    "crps": "continuous ranked probability score of the quantiles, standardised",
    "coverage_80": "share of values inside the 80 % interval",
    "coverage_90": "share of values inside the 90 % interval",
    "width_90": "width of the 90 % interval, standardised",
    "interval_score_90": "Winkler score of the 90 % interval, standardised",
}


@dataclass
class ForecastScores:
    """Means over windows, kept per horizon step and target, and per series, in float64.

    Args:
        std: `(S, V)` or `(V,)`: what errors of each series are divided by, in physical units.
        scale: likewise, the denominator of MASE (Hyndman, Koehler, "Another look at measures of
            forecast accuracy", 2006); NaN where a series has none, whose windows MASE leaves out.
        levels: levels of the quantiles; empty without quantiles.
    """

    std: Tensor
    scale: Tensor
    levels: Sequence[float] = ()
    windows: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
    series_sums: dict[str, Tensor] = field(default_factory=dict)
    series_counts: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.std = torch.atleast_2d(self.std.double().cpu())
        self.scale = torch.atleast_2d(self.scale.double().cpu())

    def add(
        self,
        output: Tensor,
        target: Tensor,
        quantiles: Tensor | None = None,
        series: Tensor | None = None,
    ) -> None:
        """Take a batch in physical units.

        Args:
            output: `(B, H, V)`; target: likewise; quantiles: `(levels, B, H, V)`.
            series: `(B,)` number of the series that each window lies in; None: the only one.

        Raises:
            ValueError: another shape than the targets have, which would be broadcast.
        """
        if output.shape != target.shape:
            raise ValueError(
                f"the forecast has the shape {tuple(output.shape)}, the targets "
                f"{tuple(target.shape)}: a model is scored on the targets of its training"
            )
        if series is None:
            series = torch.zeros(len(output), dtype=torch.int64)
        error = (output - target).double().cpu()
        std, scale = self.std[series][:, None], self.scale[series][:, None]  # (B, 1, V)
        scaled = error.abs() / scale
        there = ~scale.isnan().expand_as(error)
        self._add("mse", (error / std).square(), series)
        self._add("mae", (error / std).abs(), series)
        self._add("mase", torch.where(there, scaled, 0.0), series, there)
        if quantiles is not None:
            found = self._of_quantiles(quantiles.double().cpu() / std, target.double().cpu() / std)
            for name, values in found.items():
                self._add(name, values, series)
        self.windows += len(error)

    def _add(self, name: str, values: Tensor, series: Tensor, there: Tensor | None = None) -> None:
        there = torch.ones_like(values) if there is None else there.to(values)
        for totals, own, part in (
            (self.sums, self.series_sums, values),
            (self.counts, self.series_counts, there),
        ):
            total = part.sum(0)
            totals[name] = totals[name] + total if name in totals else total
            if name not in own:
                own[name] = total.new_zeros(len(self.std))
            own[name].index_add_(0, series, part.flatten(1).sum(1))

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
        self._require_windows()
        return {
            name: float(total.sum() / self.counts[name].sum())
            for name, total in self.sums.items()
            if name in FIGURES and bool(self.counts[name].any())
        }

    def calibration(self) -> list[tuple[float, float]]:
        """(level, share of values at or below that quantile): equal for honest quantiles."""
        return [
            (level, float(self.sums[name].sum() / self.counts[name].sum()))
            for level in self.levels
            for name in [f"below_{level:g}"]
        ]

    def by_step(self) -> dict[str, list[float]]:
        """Means over windows and targets, per horizon step."""
        return self._along(1)

    def by_target(self) -> dict[str, list[float]]:
        """Means over windows and steps, per target."""
        return self._along(0)

    def by_series(self) -> list[dict[str, float]]:
        """Per series its means over windows, steps and targets; {} where it has no windows."""
        figures = [name for name in self.sums if name in FIGURES]
        return [
            {
                name: float(self.series_sums[name][place] / self.series_counts[name][place])
                for name in figures
                if self.series_counts[name][place] > 0
            }
            for place in range(len(self.std))
        ]

    def series_windows(self) -> list[int]:
        """How many windows of each series were scored."""
        each = self.counts["mse"].numel()
        return [round(count / each) for count in self.series_counts["mse"].tolist()]

    def _along(self, axis: int) -> dict[str, list[float]]:
        self._require_windows()
        return {
            name: (total.sum(axis) / self.counts[name].sum(axis)).tolist()
            for name, total in self.sums.items()
            if name in FIGURES and bool(self.counts[name].any())
        }

    def _require_windows(self) -> None:
        if not self.windows:
            raise ValueError("there are no windows to score")

    @classmethod
    def joined(cls, parts: Sequence[ForecastScores]) -> ForecastScores:
        """Several together, every window alike; figures that all of them have."""
        names = [n for n in parts[0].sums if all(n in part.sums for part in parts)]
        first = parts[0]
        found = cls(first.std, first.scale, first.levels if "crps" in names else ())
        found.windows = sum(part.windows for part in parts)
        for table in ("sums", "counts", "series_sums", "series_counts"):
            mine = getattr(found, table)
            for name in names:
                mine[name] = torch.stack([getattr(part, table)[name] for part in parts]).sum(0)
        return found
