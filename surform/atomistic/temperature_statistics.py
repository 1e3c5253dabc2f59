"""The mean temperature of a run, and how sure one can be of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["TemperatureStatistics", "temperature_statistics"]

_BLOCKS = 10


@dataclass(frozen=True)
class TemperatureStatistics:
    """Of the frames behind the first part of a run.

    mean: [K]. error: its standard error from the means of blocks [K]; NaN for less than ten frames.
    deviation: of single frames [K]. expected: the deviation at constant temperature,
    T sqrt(2 / degrees of freedom) [K]. frames: counted.
    """

    mean: float
    error: float
    deviation: float
    expected: float
    frames: int


def temperature_statistics(
    temperature: ArrayLike, degrees_of_freedom: int, discard: float = 0.2
) -> TemperatureStatistics:
    """Statistics of temperatures [K] of successive frames.

    The error is that of the means of ten blocks (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461,
    1989): frames nearby are alike, so that single ones would feign certainty.

    Args:
        degrees_of_freedom: that share the kinetic energy, three per free atom.
        discard: part of the frames at the start that is left out.

    Raises:
        ValueError: no frames are left, or discard is not in [0, 1).
    """
    values = np.asarray(temperature, float)
    if not 0 <= discard < 1 or values.ndim != 1 or not len(values):
        raise ValueError("statistics need frames, and to discard a part of them in [0, 1)")
    kept = values[int(discard * len(values)) :]
    mean, error = float(kept.mean()), float("nan")
    if len(kept) >= _BLOCKS:
        means = np.array([block.mean() for block in np.array_split(kept, _BLOCKS)])
        error = float(means.std(ddof=1) / np.sqrt(_BLOCKS))
    expected = mean * np.sqrt(2 / max(degrees_of_freedom, 1))
    return TemperatureStatistics(mean, error, float(kept.std()), float(expected), len(kept))
