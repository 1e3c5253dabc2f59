"""Noise on inputs, drawn once per sample, as in the inverse Darcy problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["InputNoise"]


@dataclass(frozen=True)
class InputNoise:
    """Gaussian noise whose level is meant in normalised units, on inputs in physical units.

    Cao (2021, arXiv 2105.14995) adds `level * N(0, 1)` after normalisation. Adding
    `level * (std + eps) * N(0, 1)` before it is the same, and batches stay in physical units.
    The draw is a pure function of (seed, split, sample, start): every epoch sees the same noise.

    Args:
        level: in units of the normalised input (0.01 is one per cent of unit variance).
        scale: `std + eps` of the input normaliser, broadcasts against `(*grid, C)`.
        seed: of the data module.
        split: a number per split, so that splits in separate files differ.
    """

    level: float
    scale: Tensor
    seed: int
    split: int

    def add(self, inputs: Tensor, samples: np.ndarray, starts: np.ndarray) -> Tensor:
        """`inputs` `(B, ..., *grid, C)` with noise."""
        shape = tuple(inputs.shape[1:])
        draws = [
            np.random.default_rng([self.seed, self.split, int(sample), int(start)])
            .standard_normal(shape, dtype=np.float32)
            for sample, start in zip(samples, starts, strict=True)
        ]  # fmt: skip
        noise = torch.from_numpy(np.stack(draws)).to(inputs.dtype)
        return inputs + self.level * self.scale.to(inputs.dtype) * noise
