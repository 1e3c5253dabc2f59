"""What observations and actions may be: Gymnasium's spaces as far as the package needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

__all__ = ["Box", "Dict"]


class Box:
    """Arrays of one shape between two bounds.

    Args:
        low, high: bounds that broadcast to `shape`.
        shape: of the arrays; None: that of `low`.
    """

    def __init__(
        self,
        low: ArrayLike,
        high: ArrayLike,
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.shape = np.shape(low) if shape is None else shape
        self.dtype = np.dtype(dtype)
        self.low: np.ndarray = np.broadcast_to(np.asarray(low, self.dtype), self.shape)
        self.high: np.ndarray = np.broadcast_to(np.asarray(high, self.dtype), self.shape)

    def contains(self, x: Any) -> bool:
        """Whether `x` is one of these arrays."""
        fits = isinstance(x, np.ndarray) and x.shape == self.shape and x.dtype == self.dtype
        return fits and bool(((x >= self.low) & (x <= self.high)).all())

    def sample(self, generator: np.random.Generator | None = None) -> np.ndarray:
        """An array evenly at random; bounds must be finite."""
        drawn = (generator or np.random.default_rng()).uniform(self.low, self.high)
        return np.asarray(drawn).astype(self.dtype)


@dataclass(frozen=True)
class Dict:
    """Spaces by name."""

    spaces: Mapping[str, Box]

    def contains(self, x: Any) -> bool:
        """Whether `x` has an array of each space, and no other."""
        return set(x) == set(self.spaces) and all(s.contains(x[n]) for n, s in self.spaces.items())

    def sample(self, generator: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """One array of each."""
        return {name: space.sample(generator) for name, space in self.spaces.items()}
