"""How far the integrals of a rollout, such as its energy, wander from the truth's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from surform.rollout.summary import known_steps, sound

__all__ = ["CLOSE", "Drift", "drifts"]

CLOSE = 0.1  # of the truth: how near an integral has to be to count as kept


@dataclass(frozen=True)
class Drift:
    """One integral of the flow beside the truth's, mean over the runs that did not blow up.

    Attributes:
        name: as people say it, "kinetic energy".
        error: of the mean over time, relative to the truth's; positive: too high.
        until: lead time up to which the integral is within `CLOSE` of the truth's; 0: never.
        end: the last lead time at which the truth is known.
    """

    name: str
    error: float
    until: float
    end: float

    @property
    def kept(self) -> bool:
        """Whether it was within `CLOSE` of the truth's to the end."""
        return self.until >= self.end

    def mean(self) -> str:
        """ "34% too high"; of the mean over time."""
        if not np.isfinite(self.error):
            return "not known"
        return f"{abs(self.error):.0%} too {'high' if self.error > 0 else 'low'}"

    def reach(self) -> str:
        """ "within 10% of the truth up to time 3.12 of 16"."""
        if self.until == 0:
            return f"more than {CLOSE:.0%} from the truth from the first step on"
        if self.kept:
            return f"within {CLOSE:.0%} of the truth to the end"
        return f"within {CLOSE:.0%} of the truth up to time {self.until:.3g} of {self.end:.3g}"

    def sentence(self) -> str:
        """Both as a sentence."""
        return f"The model's mean over time is {self.mean()}; it is {self.reach()}."


def drifts(prediction: xr.Dataset) -> list[Drift]:
    """Of the kinetic energy and the enstrophy, where a rollout has them beside the truth's.

    Args:
        prediction: what `rollout_to` returned, or what it wrote.
    """
    found = []
    for name in ("kinetic_energy", "enstrophy"):
        if f"{name}_truth" not in prediction:
            continue
        true = prediction[f"{name}_truth"]
        known = known_steps(true)
        if known.any():
            own = sound(prediction, prediction[name])
            found.append(_drift(name.replace("_", " "), own, true, known))
    return found


def _drift(name: str, own: xr.DataArray, true: xr.DataArray, known: np.ndarray) -> Drift:
    lead = own["lead_time"].values[known]
    own, true = own.where(true.notnull()), true.where(own.notnull())  # the same runs and times
    one, other = (_over_time(array)[known] for array in (own, true))
    near = np.abs(one - other) <= CLOSE * np.abs(other)
    steps = len(near) if near.all() else int(near.argmin())
    mean, true_mean = float(own.mean()), float(true.mean())
    error = (mean - true_mean) / true_mean if true_mean else float("nan")
    return Drift(name, error, float(lead[steps - 1]) if steps else 0.0, float(lead[-1]))


def _over_time(array: xr.DataArray) -> np.ndarray:
    """Mean over the runs, by time."""
    return array.mean([d for d in array.dims if d != "time"]).values
