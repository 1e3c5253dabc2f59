"""What numbers of a table may be changed by before they are standardised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["TRANSFORMS", "check_transforms"]


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _log(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log1p(np.abs(x))


def _sqrt(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


# the first two tame long tails, and take negative numbers too
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": _log, "sqrt": _sqrt, "none": _same,
}  # fmt: skip


def check_transforms(transforms: Mapping[str, str]) -> None:
    """ValueError for a column's transform that there is not."""
    for name, transform in transforms.items():
        if transform not in TRANSFORMS:
            raise ValueError(
                f"{name} has the transform {transform!r}: choose {', '.join(TRANSFORMS)}"
            )
