"""Aids for long rollouts: what is done to every predicted frame before it is fed back.

    rollout_to(out, model, data, 1000, corrections=[SpectralDamping(0.05), Clamp(6)])

They bound errors, they do not remove them: compare the statistics with and without.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from surform.rollout.stepping import Correct
from surform.rollout.trajectories import Trajectories

__all__ = ["Clamp", "ConserveMean", "Correction", "EnergyLimit", "SpectralDamping", "bind_all"]


class Correction(ABC):
    """What is done to frames; a subclass overrides `bind`. Its `repr` tells of it in results."""

    @abstractmethod
    def bind(self, course: Trajectories, model: nn.Module) -> Correct:
        """What turns a frame `(B, *grid, C)`, given the one before it, into the corrected one.

        Raises:
            ValueError: the grid, the variables or the model do not allow it.
        """


def bind_all(
    corrections: Sequence[Correction], course: Trajectories, model: nn.Module
) -> Correct | None:
    """All corrections, one after the other; None where there are none."""
    bound = [correction.bind(course, model) for correction in corrections]
    if not bound:
        return None

    def correct(frame: Tensor, before: Tensor) -> Tensor:
        for each in bound:
            frame = each(frame, before)
        return frame

    return correct


@dataclass(frozen=True)
class SpectralDamping(Correction):
    """Damp the shortest waves along periodic axes.

    A wave of wavenumber k is multiplied by `exp(-strength ((k/k_max - cutoff)/(1 - cutoff))^4)`
    at every step and along every periodic axis, where k_max is the largest one of the grid; waves
    up to `cutoff` k_max are left alone, and so is the mean. After n steps a wave at k_max has lost
    a factor `exp(-n strength)` against what the model makes of it. (Exponential filter: Gottlieb
    and Hesthaven, J. Comput. Appl. Math. 128, 2001.)

    Args:
        strength: of the shortest wave, per step.
        cutoff: in [0, 1), as a part of k_max.
    """

    strength: float
    cutoff: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise ValueError(f"the strength of damping must be above 0, not {self.strength}")
        if not 0 <= self.cutoff < 1:
            raise ValueError(f"the cutoff of damping lies in [0, 1), not at {self.cutoff}")

    def bind(self, course: Trajectories, model: nn.Module) -> Correct:
        grid = course.grid
        axes = [i for i, axis in enumerate(grid.axes, 1) if grid.periodic.get(axis)]
        if not axes:
            raise ValueError(
                f"spectral damping needs a periodic axis, {', '.join(grid.axes)} are not"
            )

        def correct(frame: Tensor, before: Tensor) -> Tensor:
            for axis in axes:
                points = frame.shape[axis]
                waves = torch.fft.rfft(frame, dim=axis)
                shape = [1] * frame.ndim
                shape[axis] = -1
                factor = self.factor(points).to(frame).view(shape)
                frame = torch.fft.irfft(waves * factor, n=points, dim=axis)
            return frame

        return correct

    def factor(self, points: int) -> Tensor:
        """Of every wave that `rfft` finds on so many points."""
        k = torch.arange(points // 2 + 1, dtype=torch.float64) / max(points // 2, 1)
        beyond = ((k - self.cutoff) / (1 - self.cutoff)).clamp_min(0)
        return torch.exp(-self.strength * beyond**4)


@dataclass(frozen=True)
class Clamp(Correction):
    """Cut values off at the mean of the training data plus and minus so many deviations.

    Mean and deviation are those that the model normalises its targets with. Values inside are left
    alone. A clamped rollout saturates instead of growing without bound; NaN and infinity stay.

    Args:
        deviations: half the width of the allowed range.
    """

    deviations: float = 6.0

    def __post_init__(self) -> None:
        if not self.deviations > 0:
            raise ValueError(f"a clamp needs more than 0 deviations, not {self.deviations}")

    def bind(self, course: Trajectories, model: nn.Module) -> Correct:
        normalizer: Any = getattr(model, "target_normalizer", None)
        if normalizer is None or normalizer.mean.ndim == 0:
            raise ValueError(
                "clamping needs the mean and deviation of the training data: this model does not "
                "normalise its targets, so it does not know them"
            )
        width = self.deviations * (normalizer.std + normalizer.eps)
        low, high = normalizer.mean - width, normalizer.mean + width
        self._require_inside(course, low.cpu(), high.cpu())

        def correct(frame: Tensor, before: Tensor) -> Tensor:
            return torch.where(frame.isfinite(), frame.clamp(low, high), frame)

        return correct

    def _require_inside(self, course: Trajectories, low: Tensor, high: Tensor) -> None:
        """ValueError when the clamp would cut the true flow that a rollout starts from."""
        for sample in range(course.samples):
            frame = course.last_known(slice(sample, sample + 1))
            outside = torch.nonzero((frame < low) | (frame > high))
            if len(outside):
                place = tuple(outside[0].tolist())
                name = course.grid.targets[place[-1]]
                raise ValueError(
                    f"{name} is {float(frame[place]):.4g} where sample {sample} starts, more than "
                    f"{self.deviations:g} deviations from the mean of training: clamp further out"
                )


@dataclass(frozen=True)
class ConserveMean(Correction):
    """Keep the mean over the grid of some variables as it is at the start.

    What a step adds to the mean is taken off evenly, except on the first and last point of axes
    that are not periodic: what a wall holds at zero stays zero.

    Args:
        variables: those whose mean the equation conserves.
    """

    variables: Sequence[str]

    def bind(self, course: Trajectories, model: nn.Module) -> Correct:
        grid = course.grid
        unknown = [name for name in self.variables if name not in grid.targets]
        if unknown or not self.variables:
            raise ValueError(
                f"the mean to conserve is that of {', '.join(unknown) or 'no variable'}: choose "
                f"from {', '.join(grid.targets)}"
            )
        channels = [grid.targets.index(name) for name in self.variables]
        inside = torch.ones(*grid.shape, 1, dtype=torch.float64)
        for place, axis in enumerate(grid.axes):
            if not grid.periodic.get(axis):
                inside.select(place, 0).zero_()
                inside.select(place, -1).zero_()
        if not inside.any():
            raise ValueError("a mean cannot be conserved on a grid that has no inner points")
        share = inside / inside.mean()
        space = tuple(range(1, len(grid.axes) + 1))

        def correct(frame: Tensor, before: Tensor) -> Tensor:
            lost = (before - frame)[..., channels].mean(space, keepdim=True)
            frame = frame.clone()
            frame[..., channels] += lost * share.to(frame)
            return frame

        return correct


@dataclass(frozen=True, eq=False)
class EnergyLimit(Correction):
    """Keep the change of each variable's energy in one step within what data show.

    The energy of a variable is half its mean square over the grid. Where a step changes it by less
    than the smallest or more than the largest change from frame to frame of the data, the field is
    scaled so that it changes by just that; steps inside are left alone. (The one-step energy change
    that Yang et al. keep with IFactFormer-m, arXiv 2412.18840.)

    Args:
        dataset: where the changes are taken from, such as the training data; on the time step of
            the model or a finer one.
    """

    dataset: xr.Dataset = field(repr=False)

    def bind(self, course: Trajectories, model: nn.Module) -> Correct:
        least, most = self.changes(course)

        def correct(frame: Tensor, before: Tensor) -> Tensor:
            old, new = _energy(before), _energy(frame)
            change = new - old
            allowed = change.clamp(least.to(old), most.to(old))
            ratio = (old + allowed).clamp_min(0) / new.clamp_min(torch.finfo(new.dtype).tiny)
            scale = torch.where((allowed == change) | ~new.isfinite(), 1.0, ratio.sqrt())
            return frame * scale.view(len(frame), *[1] * (frame.ndim - 2), -1)

        return correct

    def changes(self, course: Trajectories) -> tuple[Tensor, Tensor]:
        """The smallest and the largest change in one step of the model, `(C,)` each."""
        data = Trajectories.of(self.dataset, course.grid, any_grid=True)
        frames = data.dataset.sizes.get("time", 1)
        if frames < 2:
            raise ValueError("the change of energy in one step needs data of two frames at least")
        least = torch.full((len(course.grid.targets),), math.inf, dtype=torch.float64)
        most = -least
        for sample in range(data.samples):
            before = None
            for frame in data.frames(slice(sample, sample + 1), 0, frames):
                energy = _energy(frame.double())[0]
                if before is not None:
                    least = torch.minimum(least, energy - before)
                    most = torch.maximum(most, energy - before)
                before = energy
        if not (least.isfinite() & most.isfinite()).all():
            raise ValueError("the data for the change of energy hold values that are not finite")
        return least, most


def _energy(frame: Tensor) -> Tensor:
    """Half the mean square over the grid, `(B, C)`."""
    return frame.square().flatten(1, -2).mean(1) / 2
