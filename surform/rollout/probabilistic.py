"""How good an ensemble is: sharpness and honesty of its spread."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.rollout.observers import Observer, Quantity, VariableObserver

__all__ = ["CRPS", "SpreadSkill"]


class CRPS(VariableObserver):
    """Continuous ranked probability score, mean over the grid, in the variable's units.

    The fair estimator `mean_i |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1))` (Ferro 2014,
    doi 10.1002/qj.2270): unbiased in the number of members M, at least two.
    """

    metric = "crps"
    needs_truth = True
    of_ensemble = True

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        members = _members(field)
        error = (field - truth).abs().mean(1)
        # sum_ij |x_i - x_j| = 2 sum_i (2 i - M + 1) x_(i) for sorted members: no M x M table
        rank = torch.arange(members, dtype=field.dtype, device=field.device)
        weight = (2 * rank - members + 1).view(-1, *[1] * (field.ndim - 2))
        spread = (field.sort(dim=1).values * weight).sum(1) / (members * (members - 1))
        return (error - spread).flatten(1).mean(1)

    def units(self, units: str) -> str:
        return units


class SpreadSkill(Observer):
    """Spread of the members, error of their mean, and the ratio of both.

    `<variable>_spread` is the root of the members' mean variance, `_skill` the RMSE of the
    ensemble mean, `_spread_skill` their ratio times `sqrt((M + 1) / M)`: 1 for an honest ensemble
    (Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1).
    """

    needs_truth = True

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        measured = {}
        for channel, variable in enumerate(self.grid.targets):
            field, true = frame[..., channel], truth[:, 0, ..., channel]
            members = _members(field)
            spread = field.var(1).flatten(1).mean(1).sqrt()
            skill = (field.mean(1) - true).square().flatten(1).mean(1).sqrt()
            ratio = spread / skill * ((members + 1) / members) ** 0.5
            units = self.grid.units.get(variable, "1")
            measured[f"{variable}_spread"] = Quantity(spread, units, of_ensemble=True)
            measured[f"{variable}_skill"] = Quantity(skill, units, of_ensemble=True)
            measured[f"{variable}_spread_skill"] = Quantity(ratio, of_ensemble=True)
        return measured


def _members(field: Tensor) -> int:
    if field.shape[1] < 2:
        raise ValueError("an ensemble score needs at least two members")
    return field.shape[1]
