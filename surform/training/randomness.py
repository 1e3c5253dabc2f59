"""Random numbers as a function of (seed, step, process), so that a resumed run draws the same."""

from __future__ import annotations

import random

import numpy as np
import torch

__all__ = ["seed_step"]


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch, numpy and random for one training step.

    Dropout, drop path and noise then need no stored generator state: a run that was killed and
    resumed anywhere draws exactly what the uninterrupted one draws.
    """
    words = np.random.SeedSequence((seed % 2**64, step, rank)).generate_state(2, np.uint64)
    torch.manual_seed(int(words[0]))
    random.seed(int(words[1]))
    np.random.seed(int(words[1] % 2**32))  # noqa: NPY002  third-party code may draw from it
