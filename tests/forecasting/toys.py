"""Small forecasters and series for the tests of the domain's shared parts."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.data.series_description import SeriesDescription
from surform.layers.arguments import record_arguments


class Plain(nn.Module):
    """One linear map in time, and what it was called with."""

    covariates: ClassVar[tuple[str, ...]] = ("past_marks", "known", "static")

    @record_arguments
    def __init__(self, lookback: int, horizon: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.map = nn.Linear(lookback, horizon)
        self.dropout = nn.Dropout(dropout)
        self.seen: dict[str, Tensor] = {}

    def forward(self, history: Tensor, **covariates: Tensor) -> Tensor:
        self.seen = {"history": history, **covariates}
        return self.map(self.dropout(history).transpose(1, 2)).transpose(1, 2)


class Balanced(Plain):
    """As `Plain`, with a penalty of its own."""

    covariates: ClassVar[tuple[str, ...]] = ()

    def forecast_and_penalty(self, history: Tensor) -> tuple[Tensor, Tensor]:
        return self(history), self.map.weight.square().sum()


def about(**options: object) -> SeriesDescription:
    values: dict = {
        "variates": ("a", "b", "c"),
        "targets": ("a", "b", "c"),
        "lookback": 6,
        "horizon": 4,
        "step": "1h",
        "units": {"a": "kW"},
    }
    return SeriesDescription(**(values | options))


def statistics(count: int = 3) -> Normalizer:
    return Normalizer(10.0 * torch.arange(1, count + 1), 0.5 + torch.arange(count))
