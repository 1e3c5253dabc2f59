"""The statistics of all runs of a rollout as one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surform.rollout.statistics import PREFIX

__all__ = ["pool", "statistics_of"]


def statistics_of(prediction: xr.Dataset) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Those of the prediction and of the truth, each pooled over the runs that count.

    Args:
        prediction: what `rollout_to` returned, or what it wrote.

    Returns:
        Datasets as `FlowStatistics.result` gives them, ready for `turbulence_files.wall_units`;
        None where there are none, or where every run blew up.
    """
    names = [str(name) for name in prediction.data_vars if str(name).startswith(PREFIX)]
    true = [name for name in names if name.endswith("_truth")]
    own = [name for name in names if name not in true]
    return _pooled(prediction, own, ""), _pooled(prediction, true, "_truth")


def _pooled(prediction: xr.Dataset, names: list[str], end: str) -> xr.Dataset | None:
    short = {name: name.removeprefix(PREFIX).removesuffix(end) for name in names}
    return pool(prediction[names].load().rename_vars(short)) if names else None


def pool(statistics: xr.Dataset) -> xr.Dataset | None:
    """Statistics of all runs as one, exactly as if their frames were counted together.

    Args:
        statistics: with "frames" of every run, 0 for those that are left out.

    Returns:
        None when no run counts.
    """
    frames = statistics["frames"]
    if not float(frames.sum()):
        return None
    runs = _Runs(statistics, frames.dims, frames.values / frames.values.sum())
    names = [str(name) for name in statistics.data_vars if name != "frames"]
    found = {name: runs.mean(name) for name in names}
    variables = [name.removesuffix("_rms") for name in names if name.endswith("_rms")]
    for i, one in enumerate(variables):
        found[f"{one}_rms"] = runs.covariance(f"{one}_rms", one, one) ** 0.5
        for other in variables[i + 1 :]:
            name = f"{one}_{other}_stress"
            found[name] = -runs.covariance(name, one, other)
    dims = {name: runs.dims(name) for name in names}
    data = {name: (dims[name], found[name], dict(statistics[name].attrs)) for name in names}
    data["frames"] = ((), frames.values.sum(), dict(frames.attrs))
    kept = {dim for each in dims.values() for dim in each}
    return xr.Dataset(data, {name: statistics[name] for name in kept})


@dataclass(frozen=True)
class _Runs:
    """Statistics of several runs and their weights, whose dims are `lead`."""

    statistics: xr.Dataset
    lead: tuple[Hashable, ...]
    weights: np.ndarray

    def dims(self, name: str) -> tuple[Hashable, ...]:
        """Those of the pooled statistic."""
        return tuple(dim for dim in self.statistics[name].dims if dim not in self.lead)

    def mean(self, name: str) -> np.ndarray:
        """Over the runs."""
        return self._pooled(self._values(name))

    def covariance(self, name: str, one: str, other: str) -> np.ndarray:
        """Of two variables about the mean of all runs, from the rms or the stress of each."""
        spread = self._values(name) ** 2 if one == other else -self._values(name)
        means = [self._values(f"{each}_mean") for each in (one, other)]
        pooled = [self._pooled(mean) for mean in means]
        covariance = self._pooled(spread + means[0] * means[1]) - pooled[0] * pooled[1]
        return covariance.clip(0) if one == other else covariance

    def _values(self, name: str) -> np.ndarray:
        values = self.statistics[name].transpose(*self.lead, ...).values
        counted = self.weights[(..., *[None] * (values.ndim - self.weights.ndim))] > 0
        return np.where(counted, values, 0.0)

    def _pooled(self, values: np.ndarray) -> np.ndarray:
        return np.tensordot(self.weights, values, self.weights.ndim)
