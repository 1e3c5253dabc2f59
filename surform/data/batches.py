"""What a data loader yields: named tensors in physical units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["FieldBatch"]


@dataclass(eq=False)
class FieldBatch(TensorBatch):
    """Fields on regular grids in physical units: what is given and what is to be predicted.

    Treat it as immutable; it is not a frozen dataclass only because Lightning's "64-true" and
    "bf16-true" precisions rebuild batches field by field and refuse frozen ones.

    Args:
        inputs: `(B, *grid, C)`, or `(B, T_in, *grid, C)` for time windows, oldest frame first.
            Channels are the input variables followed by the parameters, constant over the grid.
        targets: `(B, *target_grid, C_out)` or `(B, T_out, *grid, C_out)`.
        coordinates: positions of the grid points, one `(n_i,)` per axis, in the axis' units.
        auxiliary: further fields for losses, `(B, *grid)` or `(B, T_out, *grid)`, e.g. "du_dx".
        index: `(B,)` int64, the number of each window in its split.
        target_coordinates: positions of the targets' grid points, where that is another grid than
            that of the inputs; by default `coordinates`.
    """

    inputs: Tensor
    targets: Tensor
    coordinates: tuple[Tensor, ...]
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    target_coordinates: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        self.target_coordinates = self.target_coordinates or self.coordinates
        axes, target_axes = len(self.coordinates), len(self.target_coordinates)
        time = self.inputs.ndim - axes - 2
        if time not in (0, 1) or self.targets.ndim != target_axes + 2 + time:
            raise ValueError(
                f"a batch on {axes} axes has inputs and targets of {axes + 2} dimensions, "
                f"or {axes + 3} with time; got {tuple(self.inputs.shape)} and "
                f"{tuple(self.targets.shape)}"
            )
        for name, value, coordinates in (
            ("inputs", self.inputs, self.coordinates),
            ("targets", self.targets, self.target_coordinates),
        ):
            grid = tuple(len(c) for c in coordinates)
            found = tuple(value.shape[-len(grid) - 1 : -1])
            if found != grid:
                raise ValueError(f"{name} lie on a grid {found}, the coordinates on {grid}")
        if len(self.targets) != len(self.inputs):
            raise ValueError(
                f"{len(self.inputs)} inputs but {len(self.targets)} targets in a batch"
            )

    def __len__(self) -> int:
        """The number of windows in the batch."""
        return len(self.inputs)

    @property
    def time_window(self) -> bool:
        """Whether inputs and targets carry a time axis."""
        return self.inputs.ndim == len(self.coordinates) + 3

    def map(self, function: Callable[[Tensor], Tensor]) -> FieldBatch:
        """The batch with `function` applied to every tensor."""
        return FieldBatch(
            inputs=function(self.inputs),
            targets=function(self.targets),
            coordinates=tuple(function(c) for c in self.coordinates),
            auxiliary={name: function(value) for name, value in self.auxiliary.items()},
            index=function(self.index),
            target_coordinates=tuple(function(c) for c in self.target_coordinates),
        )
