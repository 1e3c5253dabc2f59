"""One-sentence errors for the numbers that solvers are given."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["check_at_least", "check_divides", "check_finite", "check_positive", "whole_steps"]


def check_positive(**values: float) -> None:
    """Raise ValueError for the first value that is not a finite number above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, but it must be a number above 0")


def check_at_least(low: float, **values: float) -> None:
    """Raise ValueError for the first value that is not a finite number of at least `low`."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= low):
            raise ValueError(f"{name} is {value}, but it must be at least {low}")


def check_divides(whole: str, value: int, part: str, divisor: int) -> None:
    """Raise ValueError unless `divisor` is at least 1 and divides `value`."""
    if divisor < 1 or value % divisor:
        raise ValueError(f"{part}={divisor} must be at least 1 and divide {whole}={value}")


def check_finite(field: Tensor, time: float, dt: float) -> None:
    """Raise ValueError when a field is no longer finite: the time step is too long."""
    if not bool(field.isfinite().all()):
        raise ValueError(
            f"the solution blew up before time {time:.4g}: choose dt below {dt:.3g} or a finer grid"
        )


def whole_steps(interval: float, dt: float) -> tuple[int, float]:
    """Return the smallest number of equal steps of at most `dt` in `interval`, and their length."""
    steps = max(1, math.ceil(interval / dt * (1 - 1e-12)))
    return steps, interval / steps
