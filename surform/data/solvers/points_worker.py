"""What a worker process does that makes samples on meshes; it imports little, to start fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from surform.data.points import PointSample
from surform.data.solvers.options import find_solver

__all__ = ["make_sample"]


def make_sample(
    solver: str, parameters: dict[str, Any], seed: int, dtype: str, number: int
) -> PointSample:
    """Sample `number`: a function of the seed and of the number alone."""
    try:
        sample = find_solver(solver)(np.random.default_rng([seed, number]), **parameters)
    except ValueError as error:
        raise ValueError(f"{solver}, sample {number}: {error}") from error
    return sample.map(lambda values: values.astype(dtype))
