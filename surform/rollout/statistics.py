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

__all__ = ["PREFIX", "Statistics", "homogeneous_axes", "velocity_of"]

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

    def __init__(self, bins: int | None = 128) -> None:
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
