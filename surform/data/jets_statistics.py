"""Mean and deviation of the features of particles, over the training jets, in one pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from surform.data.jets_samples import JetSamples
from surform.data.normalizers import Normalizer

__all__ = ["jet_statistics"]

_MOST = 1_000_000  # jets; more do not change the third digit
_STEP = 1024
_EPS = 1e-8  # as published


def jet_statistics(
    samples: JetSamples, padding: bool, progress: Callable[[float], None] = lambda share: None
) -> Normalizer:
    """Of more than a million jets so many are looked at, in evenly spread stretches.

    Args:
        padding: padded particles count as particles of zeros, as in the published code.

    Raises:
        ValueError: a feature that is the same everywhere.
    """
    steps = np.arange(0, len(samples), _STEP)
    steps = steps[:: -(-len(samples) // _MOST)]
    total, squares, count = 0.0, 0.0, 0
    for done, start in enumerate(steps, 1):
        numbers = range(start, min(start + _STEP, len(samples)))
        x = samples[list(numbers)].particles.double().flatten(0, 1)
        if not padding:
            x = x[(x != 0).any(-1)]
        total, squares, count = total + x.sum(0), squares + x.square().sum(0), count + len(x)
        progress(done / len(steps))
    mean = torch.as_tensor(total) / count
    deviation = (torch.as_tensor(squares) / count - mean.square()).clamp(min=0).sqrt()
    flat = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    if bool(flat.any()):
        name = samples.source.features[int(flat.int().argmax())]
        raise ValueError(
            f"the feature {name} of {samples.source.name} is the same for all particles: leave it "
            "out of data.features, or set data.normalize to none"
        )
    return Normalizer(mean.float(), deviation.float(), _EPS)
