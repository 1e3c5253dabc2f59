"""What to measure during a rollout: observers see every frame once and keep only numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.data.description import FieldsDescription
from surform.rollout.trajectories import Trajectories

__all__ = ["Observer", "Quantity", "VariableObserver"]


@dataclass(frozen=True)
class Quantity:
    """Numbers of one frame: `values` `(B, M, *dims)`, or `(B, *dims)` of a whole ensemble."""

    values: Tensor
    units: str = "1"
    dims: tuple[str, ...] = ()
    of_ensemble: bool = False


class Observer(ABC):
    """Fed frame by frame; `result()` labels what it has seen.

    A frame is `(B, M, *grid, C)`: samples, ensemble members (1 without an ensemble), the grid and
    the target variables in physical units; the truth is `(B, 1, *grid, C)` or None past its end.
    A subclass overrides `measure`. Quantities that need no truth are measured on the truth as
    well and kept under `<name>_truth`.
    """

    needs_truth: ClassVar[bool] = False

    def prepare(self, course: Trajectories, steps: int) -> None:  # noqa: B027  an offer
        """Look at the data once, before a rollout of so many steps."""

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        """Forget earlier rollouts; `initial` is the last known frame, `(B, 1, *grid, C)`."""
        self.grid = grid
        self.initial = initial
        self._frames = 0
        self._seen: dict[str, list[Quantity]] = {}

    @abstractmethod
    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        """Numbers of one frame, by name; `truth` means something where `needs_truth` is set."""

    def coordinates(self) -> dict[str, Any]:
        """Coordinates of the quantities' own dims, as xarray takes them."""
        return {}

    def recall(self, truth: Tensor) -> None:  # noqa: B027
        """See a true frame `(B, 1, *grid, C)` from before the rollout.

        All of them come after `start`, and only where the rollout goes on longer than the data.
        """

    def update(self, prediction: Tensor, truth: Tensor | None = None) -> None:
        """See the next frame."""
        self._frames += 1
        self._members = prediction.shape[1]
        if self.needs_truth:
            if truth is not None:
                self._keep(self.measure(prediction, truth))
            return
        self._keep(self.measure(prediction, prediction))
        if truth is not None:
            of_truth = self.measure(truth, truth)
            self._keep({f"{name}_truth": quantity for name, quantity in of_truth.items()})

    def result(self, frames: int | None = None) -> xr.Dataset:
        """Everything seen, dims (sample, member, time, ...); NaN where there was nothing to see.

        Args:
            frames: the length of the time dim, when the rollout stopped before its end.
        """
        length = frames or self._frames
        found = {name: _stack(seen, length) for name, seen in self._seen.items()}
        return xr.Dataset(found, coords=self.coordinates() if found else {})

    def _keep(self, measured: dict[str, Quantity]) -> None:
        for name, quantity in measured.items():
            values, whole = quantity.values.detach().double().cpu(), quantity.of_ensemble
            if not whole and values.shape[1] != self._members:
                values, whole = values[:, 0], True  # the truth is the same for all members
            kept = Quantity(values, quantity.units, quantity.dims, whole)
            self._seen.setdefault(name, []).append(kept)


class VariableObserver(Observer):
    """An observer of each target variable by itself: `<variable>_<metric>`."""

    metric: ClassVar[str] = ""
    dims: ClassVar[tuple[str, ...]] = ()
    of_ensemble: ClassVar[bool] = False

    @abstractmethod
    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        """`(B, M, *dims)` of one variable's field `(B, M, *grid)`."""

    def units(self, units: str) -> str:
        """Units of the metric of a variable in these units."""
        return "1"

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        measured = {}
        for channel, variable in enumerate(self.grid.targets):
            values = self.of_field(frame[..., channel], truth[..., channel])
            units = self.units(self.grid.units.get(variable, "1"))
            name = f"{variable}_{self.metric}"
            measured[name] = Quantity(values, units, self.dims, self.of_ensemble)
        return measured


def space(field: Tensor) -> tuple[int, ...]:
    """The grid dims of a field `(B, M, *grid)`."""
    return tuple(range(2, field.ndim))


def _stack(seen: list[Quantity], frames: int) -> xr.Variable:
    first = seen[0]
    lead = ("sample",) if first.of_ensemble else ("sample", "member")
    axis = len(lead)
    values = torch.stack([quantity.values for quantity in seen], dim=axis).numpy()
    missing = [(0, 0)] * values.ndim
    missing[axis] = (0, frames - len(seen))
    values = np.pad(values, missing, constant_values=np.nan)
    return xr.Variable((*lead, "time", *first.dims), values, {"units": first.units})
