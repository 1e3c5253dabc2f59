"""Statistics of a whole rollout beside those of the data: profiles, stresses, spectra, PDFs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.description import FieldsDescription
from surform.rollout.observers import Observer, Quantity
from surform.rollout.trajectories import Trajectories
from surform.rollout.turbulence import FlowStatistics, bin_edges

__all__ = ["PREFIX", "Statistics", "homogeneous_axes", "pool", "statistics_of", "velocity_of"]

PREFIX = "statistics_"

_LEAD = ("sample", "member")
_MOST = 16  # starts that the range of histograms is made from


class Statistics(Observer):
    """Mean, rms, Reynolds stresses, spectra and PDFs of every run over all its steps.

    They are taken over time and the periodic axes; the other axes, the wall-normal one of a
    channel, keep their place: see `FlowStatistics` for the results, which are stored under
    `statistics_<name>`, dims (sample, member, ...), those of the truth under
    `statistics_<name>_truth`. The truth is taken over the times of the rollout; a rollout that
    goes on longer than the data is compared with all of their frames. A run that blew up is left
    out: its numbers are NaN, its `statistics_frames` 0. Memory does not grow with the steps.

    Args:
        bins: of each PDF, whose range goes half a range beyond that of the starts; None: no PDFs.
    """

    def __init__(self, bins: int | None = 64) -> None:
        self.bins = bins
        self._edges: list[Tensor] | None = None
        self._outlasts = False

    def prepare(self, course: Trajectories, steps: int) -> None:
        if not homogeneous_axes(course.grid):
            raise ValueError(
                f"statistics are means over periodic axes, {', '.join(course.grid.axes)} are not"
            )
        self._outlasts = steps > course.known
        if self.bins is not None:
            stride = -(-course.samples // _MOST)
            starts = [course.last_known(slice(i, i + 1)) for i in range(0, course.samples, stride)]
            self._edges = bin_edges(torch.cat(starts), self.bins)

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        super().start(grid, initial)
        self._predicted, self._true = self._new(), self._new()

    def recall(self, truth: Tensor) -> None:
        if self._outlasts:
            self._true.update(truth[:, 0])

    def update(self, prediction: Tensor, truth: Tensor | None = None) -> None:
        self._frames += 1
        self._predicted.update(prediction)
        if truth is not None:
            self._true.update(truth[:, 0])

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        """Nothing of a single frame."""
        return {}

    def result(self, frames: int | None = None) -> xr.Dataset:
        found = self._predicted.result(_LEAD)
        whole = found["frames"] == (frames or self._frames)
        # What a run did on its way to a blow-up is no turbulence.
        found = found.where(whole).assign(frames=found["frames"].where(whole, 0))
        found = found.rename_vars({name: f"{PREFIX}{name}" for name in found.data_vars})
        if self._true.sums:
            true = self._true.result(_LEAD[:1])
            names = {name: f"{PREFIX}{name}_truth" for name in true.data_vars}
            found = found.merge(true.rename_vars(names))
        return found

    def _new(self) -> FlowStatistics:
        grid = self.grid
        axes = {axis: grid.coordinates[axis] for axis in grid.axes}
        return FlowStatistics(
            grid.targets, axes, homogeneous_axes(grid), self._edges, units=grid.units
        )


def homogeneous_axes(grid: FieldsDescription) -> tuple[str, ...]:
    """The periodic axes with evenly spaced points."""
    return tuple(axis for axis in grid.axes if grid.periodic.get(axis) and _even(grid, axis))


def _even(grid: FieldsDescription, axis: str) -> bool:
    steps = np.diff(grid.coordinates[axis])
    return len(steps) > 0 and np.allclose(steps, steps.mean(), rtol=1e-3)


def velocity_of(axes: Sequence[str], variables: Sequence[str]) -> tuple[str, ...]:
    """The names of the velocity, one per axis; empty where the variables hold none that is known.

    u, v, w or velocity_<axis>, on two axes or more.
    """
    count = len(axes)
    for names in (("u", "v", "w")[:count], tuple(f"velocity_{axis}" for axis in axes)):
        if 1 < count == len(names) and set(names) <= set(variables):
            return names
    return ()


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
    weights = frames / frames.sum()
    mean = {name: (array * weights).fillna(0).sum(frames.dims, keep_attrs=True)
            for name, array in statistics.drop_vars("frames").items()}  # fmt: skip
    variables = [str(name).removesuffix("_rms") for name in mean if str(name).endswith("_rms")]
    for i, one in enumerate(variables):
        for other in variables[i:]:
            name = f"{one}_rms" if one == other else f"{one}_{other}_stress"
            mean[name] = _second(statistics, weights, name, one, other, mean)
    found = xr.Dataset(mean).assign(frames=frames.sum(keep_attrs=True))
    for name, array in statistics.items():
        found[name].attrs = dict(array.attrs)
    return found


def _second(
    statistics: xr.Dataset, weights: xr.DataArray, name: str, one: str, other: str, mean: dict
) -> xr.DataArray:
    """The rms, or minus the covariance, of all runs from those of each."""
    own = statistics[f"{one}_mean"] * statistics[f"{other}_mean"]
    spread = statistics[name] ** 2 if one == other else -statistics[name]
    whole = ((spread + own) * weights).fillna(0).sum(weights.dims)
    covariance = whole - mean[f"{one}_mean"] * mean[f"{other}_mean"]
    return covariance.clip(0) ** 0.5 if one == other else -covariance
