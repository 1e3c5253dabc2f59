"""How many queries and keys ProbSparse attention looks at, and which keys it samples.

Zhou et al., "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
AAAI 2021 (arXiv 2012.07436), algorithm 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["draw_keys", "sampled_count"]

_32_BITS = 2**32 - 1
_ODD = 0x45D9F3B  # below 2^31: products with 32-bit numbers stay below 2^63


def sampled_count(length: int, factor: int) -> int:
    """min(factor * ceil(ln length), length), at least 1 where there is a token at all.

    For one token the formula gives 0, at which the official code fails.
    """
    if length <= 0:
        return 0
    return min(factor * max(math.ceil(math.log(length)), 1), length)


def draw_keys(
    queries: int, keys: int, count: int, seed: int = 0, device: torch.device | str | None = None
) -> Int[Tensor, "n s"]:
    """`count` key numbers for each query, uniform, with replacement; int64.

    A hash of (seed, query, position): the same numbers on every device, in every version of torch,
    in eager, compiled and exported programs, and no generator's state is read or moved.
    """
    x = torch.arange(queries * count, device=device)
    x = (x + (seed * 0x9E3779B1 & _32_BITS)) & _32_BITS
    for _ in range(3):
        x = ((x >> 16) ^ x) * _ODD & _32_BITS
    x = (x >> 16) ^ x
    return (x * keys >> 32).view(queries, count)
