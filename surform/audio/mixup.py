"""Spectrograms of a batch mixed with one another: Zhang et al., 2017 (arXiv 1710.09412)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mix"]


def mix(
    spectrograms: Tensor, targets: Tensor, alpha: float, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """s x + (1 - s) x', s from Beta(alpha, alpha) or 1 less, whichever is larger, for each sample.

    Args:
        spectrograms: (B, frames, bins), logarithms.
        targets: (B, K), mixed alike.
        share: of the samples that are mixed.
    """
    count = len(spectrograms)
    concentration = torch.full((count,), float(alpha))
    shares = torch.distributions.Beta(concentration, concentration).sample()
    shares = torch.maximum(shares, 1 - shares)
    shares = torch.where(torch.rand(count) < share, shares, 1.0).to(spectrograms)
    others = torch.randperm(count, device=spectrograms.device)
    mixed = shares[:, None, None] * spectrograms
    mixed = mixed + (1 - shares)[:, None, None] * spectrograms[others]
    both = shares[:, None] * targets + (1 - shares)[:, None] * targets[others]
    return mixed, both.to(targets.dtype)
