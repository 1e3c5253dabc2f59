"""Hourly loads of a grid's regions and the temperature: an example of dated series."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["loads"]

BATCH = 16
SERIES = True  # its results may also be written as tables

# Base load [MW], swing over the day [MW], share at weekends, heating and cooling [MW/K].
_REGIONS = {
    "north": (420.0, 90.0, 0.9, 6.0),
    "centre": (780.0, 210.0, 0.75, 9.0),
    "south": (310.0, 60.0, 0.95, 4.0),
}


def loads(samples: Samples, *, rows: int = 8760) -> Solution:
    """Hourly loads [MW] of three regions and the temperature [degC], from 2023-01-01 on.

    Made up, but with what such series have: seasons, weather that lasts for days, days and weeks,
    and loads that follow heating and cooling some hours later, so that the variates tell of each
    other. The noise is autoregressive.

    Args:
        rows: hours.
    """
    check_at_least(1, rows=rows)
    hours = torch.arange(rows, dtype=torch.float64)
    day, hour = hours / 24, hours % 24
    noise = samples.normal(len(_REGIONS) + 1, rows).cpu()
    temperature = 11 - 9 * _wave(day - 20, 365.25) - 4 * _wave(hour - 3, 24)
    temperature = temperature + _remembering(0.45 * noise[:, 0], 0.995)
    felt = _remembering(temperature / 4, 0.75, temperature[:, 0])
    need = (16 - felt).clamp(min=0) + 1.4 * (felt - 22).clamp(min=0)
    working = ((day.floor() + 6) % 7 < 5).double()  # 2023 begins on a Sunday
    shape = 0.6 * _wave(hour - 13, 24) + 0.4 * _wave(hour - 8, 12)
    fields = {}
    for place, (name, (base, swing, weekend, heating)) in enumerate(_REGIONS.items(), start=1):
        level = base * (weekend + (1 - weekend) * working) + swing * (0.6 + 0.4 * working) * shape
        rest = _remembering(0.012 * base * noise[:, place], 0.9)
        fields[name] = _field(level + heating * need + rest, f"load of the {name}", "MW", samples)
    fields["temperature"] = _field(temperature, "air temperature", "degC", samples)
    axis = Axis(hours, "time", units="hours since 2023-01-01 00:00:00")
    return Solution(fields=fields, axes={"time": axis})


def _field(values: Tensor, long_name: str, units: str, samples: Samples) -> Field:
    return Field(values.to(samples.device, samples.dtype), ("time",), long_name, units)


def _wave(time: Tensor, period: float) -> Tensor:
    return torch.cos(2 * math.pi * time / period)


def _remembering(steps: Tensor, memory: float, before: Tensor | None = None) -> Tensor:
    """x_t = memory x_{t-1} + step_t along the last axis, from `before` `(B,)`, by default 0."""
    last = torch.zeros_like(steps[:, 0]) if before is None else before
    found = torch.empty_like(steps)
    for row in range(steps.shape[1]):
        last = memory * last + steps[:, row]
        found[:, row] = last
    return found
