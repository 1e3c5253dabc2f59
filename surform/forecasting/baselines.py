"""Forecasts that need no training to speak of: what every model must be compared with.

They keep the contract of the networks: standardised history `(B, L, V)` -> `(B, H, V)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.series_step import Step
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least

__all__ = ["Naive", "Ridge", "season_of"]

_SECOND, _DAY = 10**6, 86400 * 10**6
# (shortest step, season) that people expect of such data, in microseconds, longest step first.
_SEASONS = (
    (7 * _DAY, 52 * 7 * _DAY),
    (_DAY, 7 * _DAY),
    (300 * _SECOND, _DAY),
    (15 * _SECOND, 3600 * _SECOND),
    (_SECOND, 60 * _SECOND),
)


def season_of(step: str) -> int:
    """Steps per season for a time step such as "1h"; 1 (no season) where none is usual.

    A year of months, quarters or weeks, a week of days, a day of hours or minutes from 5 on, an
    hour of shorter ones, a minute of seconds; the step must divide it.
    """
    if not step:
        return 1
    found = Step.parse(step)
    if found.text == "B":
        return 5
    if found.months:
        return _whole(12, found.months)
    season = next((season for least, season in _SEASONS if found.micro >= least), found.micro)
    return _whole(season, found.micro)


def _whole(season: int, step: int) -> int:
    return season // step if season % step == 0 else 1


class Naive(nn.Module):
    """The last season repeated; with a season of one step, the last value.

    Args:
        lookback: steps given (L).
        horizon: steps forecast (H).
        season: steps in a season; at most `lookback`.
    """

    covariates: ClassVar[tuple[str, ...]] = ()

    @record_arguments
    def __init__(self, *, lookback: int, horizon: int, season: int = 1) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, season=season)
        if season > lookback:
            raise ValueError(f"season is {season}, but a look-back of {lookback} holds no season")
        self.horizon, self.season = horizon, season

    def forward(self, history: Float[Tensor, "b l v"]) -> Float[Tensor, "b h v"]:
        """The forecast, in the units of `history`."""
        last = history[:, -self.season :]
        times = -(-self.horizon // self.season)
        return last.repeat(1, times, 1)[:, : self.horizon]


class Ridge(nn.Module):
    """One linear map from look-back to horizon for all variates, by regularised least squares.

    It forecasts the change since the last value, so that levels carry over:
    y = x_L + W (x - x_L) + b, W of least |error|^2 + penalty |W|^2 over all windows.

    Args:
        lookback: steps given (L).
        horizon: steps forecast (H).
        penalty: weight of |W|^2 per window and variate, in standardised units.
    """

    covariates: ClassVar[tuple[str, ...]] = ()
    weight: Tensor
    bias: Tensor

    @record_arguments
    def __init__(self, *, lookback: int, horizon: int, penalty: float = 1e-3) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon)
        if not penalty > 0:
            raise ValueError(f"penalty is {penalty!r}, but must be positive")
        self.penalty = penalty
        self.register_buffer("weight", torch.zeros(horizon, lookback))
        self.register_buffer("bias", torch.zeros(horizon))

    def fit(self, windows: Iterable[tuple[Tensor, Tensor]]) -> Ridge:
        """Solve for W and b from (history `(B, L, V)`, targets `(B, H, V)`), one pass, float64.

        Raises:
            ValueError: there are no windows.
        """
        size = self.weight.shape[1] + 1
        gram = torch.zeros(size, size, dtype=torch.float64, device=self.weight.device)
        moment = gram.new_zeros(size, len(self.weight))
        count = 0
        for history, targets in windows:
            last = history[:, -1:].double()
            x = (history - last).transpose(1, 2).flatten(0, 1)
            x = torch.cat((x, torch.ones_like(x[:, :1])), 1)
            y = (targets - last).transpose(1, 2).flatten(0, 1)
            gram.addmm_(x.T, x)
            moment.addmm_(x.T, y)
            count += len(x)
        if not count:
            raise ValueError("ridge regression got no windows to fit")
        penalty = gram.new_full((size,), self.penalty * count)
        penalty[-1] = 0  # the bias is free
        solution = torch.linalg.solve(gram + penalty.diag(), moment)
        self.weight.copy_(solution[:-1].T)
        self.bias.copy_(solution[-1])
        return self

    def forward(self, history: Float[Tensor, "b l v"]) -> Float[Tensor, "b h v"]:
        """The forecast, in the units of `history`."""
        last = history[:, -1:]
        change = (history - last).transpose(1, 2) @ self.weight.T + self.bias
        return last + change.transpose(1, 2)
