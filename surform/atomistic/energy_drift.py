"""How well a run at constant energy keeps it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["EnergyDrift", "energy_drift"]


@dataclass(frozen=True)
class EnergyDrift:
    """A straight line through the total energy over time.

    drift: its slope [meV/atom/ps]. error: the standard error of the slope, as if frames were
    independent [meV/atom/ps]. fluctuation: root mean square around the line [meV/atom]. start: the
    line at time 0 [meV/atom], counted from the first energy.
    """

    drift: float
    error: float
    fluctuation: float
    start: float

    def line(self, time: ArrayLike) -> np.ndarray:
        """The fit at times [ps], in meV/atom from the first energy."""
        return self.start + self.drift * np.asarray(time, float)


def energy_drift(time: ArrayLike, energy: ArrayLike, atoms: int) -> EnergyDrift:
    """Fit a line to total energies [eV] at times [ps] of a run of so many atoms.

    Raises:
        ValueError: fewer than three frames, or times that are all the same.
    """
    t, e = np.asarray(time, float), np.asarray(energy, float)
    if t.ndim != 1 or t.shape != e.shape or len(t) < 3:
        raise ValueError(
            f"a drift needs three energies at least, and a time for each, not {t.shape}"
        )
    values = 1000 * (e - e[0]) / atoms
    centred = t - t.mean()
    spread = float((centred**2).sum())
    if not spread > 0:
        raise ValueError("a drift needs times that differ")
    slope = float((centred * values).sum()) / spread
    start = float(values.mean()) - slope * float(t.mean())
    rest = values - start - slope * t
    error = float(np.sqrt((rest**2).sum() / (len(t) - 2) / spread))
    return EnergyDrift(slope, error, float(np.sqrt((rest**2).mean())), start)
