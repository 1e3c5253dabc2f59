"""Which of many worlds each collector gets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

__all__ = ["divided"]


def divided(
    count: int, shares: Mapping[str, float], generator: Generator
) -> list[tuple[str, Tensor]]:
    """(name, numbers of its worlds) for each share, rounded; worlds fall to names at random."""
    if len(shares) == 1:
        return [(next(iter(shares)), torch.arange(count))]
    order = torch.randperm(count, generator=generator)
    whole, found, begin, share = sum(shares.values()), [], 0, 0.0
    for name, part in shares.items():
        share += part
        end = round(count * share / whole)
        if end > begin:
            found.append((name, order[begin:end].sort().values))
        begin = end
    return found
