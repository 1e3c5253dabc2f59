"""Noise on what a network sees in training, so that it learns to undo its own errors."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.operators.surrogate import FieldSurrogate

__all__ = ["with_noise"]


def with_noise(inputs: Tensor, surrogate: FieldSurrogate, level: float) -> Tensor:
    """Inputs `(B, [T_in,] *grid, C)` with `level * (std + eps) * N(0, 1)` added, physical units.

    Only the variables that the model also predicts get noise, as these are fed back in a rollout;
    a model that predicts none of its inputs gets it on all input variables. Parameters get none.
    The draw is torch's: `Task` seeds every training step by (seed, step, process). Targets stay
    clean, so that a model of changes learns to take the noise off again (Sanchez-Gonzalez et al.
    2020, arXiv 2002.09405; Pfaff et al. 2021, arXiv 2010.03409).

    Args:
        level: standard deviation in normalised units; 0 gives the inputs themselves.
    """
    about = surrogate.description
    if not level or about is None:
        return inputs
    fed_back = [name in about.targets for name in about.inputs]
    chosen = fed_back if any(fed_back) else [True] * len(fed_back)
    channels = torch.tensor([*chosen, *[False] * len(about.parameters)], device=inputs.device)
    normalizer = surrogate.input_normalizer
    scale = level * (normalizer.std + normalizer.eps) * channels
    return inputs + scale.to(inputs) * torch.randn_like(inputs)
