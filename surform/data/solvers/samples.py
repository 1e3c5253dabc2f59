"""What a solver is given (samples to make, with their random numbers) and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surform.data.solvers.unfinished import Unfinished

__all__ = ["Axis", "Field", "Samples", "Solution"]


def _silent(fraction: float) -> None:
    """Report progress to nobody."""


class Samples:
    """The samples that one call of a solver makes, and their random numbers.

    The numbers of sample i are a function of (seed, i) alone: neither the batch, nor the device,
    nor the dtype changes them, because they are drawn in float64 on the CPU, sample by sample.

    Args:
        indices: numbers of the samples in the data set.
        seed: seed of the data set, at least 0.
        device: where the solver computes.
        dtype: `torch.float32` or `torch.float64`.
        progress: called by the solver with the finished fraction of its work, 0 to 1.
        unfinished: where a solver whose samples take long may keep its state; nowhere by default.
    """

    def __init__(
        self,
        indices: range,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        progress: Callable[[float], None] = _silent,
        unfinished: Unfinished | None = None,
    ) -> None:
        self.indices = indices
        self.seed = seed
        self.device = torch.device(device)
        self.dtype = dtype
        self.progress = progress
        self.unfinished = unfinished or Unfinished()
        self._generators = [np.random.default_rng([seed, i]) for i in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape), float64 on the solver's device."""
        return self._stack([g.standard_normal(shape) for g in self._generators])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers in [low, high), (B, *shape), float64 on the solver's device."""
        return self._stack([g.uniform(low, high, shape) for g in self._generators])

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers in [low, high), (B, *shape), int64 on the solver's device."""
        return self._stack([g.integers(low, high, shape) for g in self._generators])

    def _stack(self, arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self.device)


@dataclass(frozen=True)
class Field:
    """One variable of a result: values (B, ...) and the names of the axes behind B."""

    values: Tensor
    axes: tuple[str, ...]
    long_name: str
    units: str = "1"


@dataclass(frozen=True)
class Axis:
    """One axis of a result: its coordinates (n,), and whether the field repeats beyond its end."""

    values: Tensor
    long_name: str
    periodic: bool | None = None  # None: the question makes no sense, as for time
    units: str = "1"


@dataclass(frozen=True)
class Solution:
    """What a solver returns: its fields and the axes that they are given on."""

    fields: dict[str, Field]
    axes: dict[str, Axis]
