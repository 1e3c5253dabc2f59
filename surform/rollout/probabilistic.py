"""How good an ensemble is: sharpness and honesty of its spread."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.rollout.observers import Observer, Quantity, VariableObserver

__all__ = ["CRPS", "SpreadSkill"]


class CRPS(VariableObserver):
    """Continuous ranked probability score, mean over the grid, in the variable's units.

    The fair estimator `mean_i |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1))` (Ferro 2014,
    doi 10.1002/qj.2270): unbiased in the number of members M. Members that are no longer finite
    are left out; NaN where fewer than two remain.
    """

    metric = "crps"
    needs_truth = True
    of_ensemble = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        there, count = _sound(field)
        error = _mean(there, (field - truth).abs(), count)
        # sum_ij |x_i - x_j| = 2 sum_i (2 i - M + 1) x_(i) for sorted members: no M x M table
        rank = torch.arange(field.shape[1], dtype=field.dtype, device=field.device)
        weight = 2 * rank - count[:, None] + 1
        weight = torch.where(rank < count[:, None], weight, 0)
        ordered = torch.where(there, field, torch.inf).sort(dim=1).values.nan_to_num(posinf=0.0)
        spread = (ordered * _over(weight, field)).sum(1) / _over(count * (count - 1), error)
        return (error - spread).flatten(1).mean(1)

    def units(self, units: str) -> str:
        return units


class SpreadSkill(Observer):
    """Spread of the members, error of their mean, and the ratio of both.

    `<variable>_spread` is the root of the members' mean variance, also past the end of the truth;
    `_skill` the RMSE of the ensemble mean; `_spread_skill` their ratio times `sqrt((M + 1) / M)`:
    1 for an honest ensemble (Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1). Members that are no
    longer finite are left out; NaN where fewer than two remain.
    """

    needs_truth = True

    def update(self, prediction: Tensor, truth: Tensor | None = None) -> None:
        if truth is not None:
            super().update(prediction, truth)
            return
        self._frames += 1
        self._members = prediction.shape[1]
        self._keep(self._measured(prediction, None))

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        return self._measured(frame, truth)

    def _measured(self, frame: Tensor, truth: Tensor | None) -> dict[str, Quantity]:
        measured = {}
        for channel, variable in enumerate(self.grid.targets):
            field = frame[..., channel]
            there, count = _sound(field)
            mean = _mean(there, field, count)
            variance = _mean(there, (field - mean.unsqueeze(1)).square(), count)
            variance = variance.flatten(1).mean(1) * count / (count - 1)
            spread = variance.sqrt()
            units = self.grid.units.get(variable, "1")
            measured[f"{variable}_spread"] = Quantity(spread, units, of_ensemble=True)
            if truth is None:
                continue
            skill = (mean - truth[:, 0, ..., channel]).square().flatten(1).mean(1).sqrt()
            ratio = spread / skill * ((count + 1) / count).sqrt()
            measured[f"{variable}_skill"] = Quantity(skill, units, of_ensemble=True)
            measured[f"{variable}_spread_skill"] = Quantity(ratio, of_ensemble=True)
        return measured


def _sound(field: Tensor) -> tuple[Tensor, Tensor]:
    """Which members `(B, M, 1...)` are finite everywhere, and how many, `(B,)`; NaN below two."""
    if field.shape[1] < 2:
        raise ValueError("an ensemble score needs at least two members")
    there = field.isfinite().flatten(2).all(2)
    count = there.sum(1).to(field.dtype)
    count = torch.where(count < 2, torch.nan, count)
    return there.view(*there.shape, *[1] * (field.ndim - 2)), count


def _mean(there: Tensor, values: Tensor, count: Tensor) -> Tensor:
    """The mean over the members that are there, `(B, *grid)`."""
    total = torch.where(there, values, 0).sum(1)
    return total / _over(count, total)


def _over(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers `(B, ...)` with axes of length 1 up to those of `like`."""
    return numbers.view(*numbers.shape, *[1] * (like.ndim - numbers.ndim))
