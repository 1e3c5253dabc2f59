"""Which patch sizes a look-back allows, and which are taken where none are named."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["PUBLISHED", "check_patches", "fitting_patches"]

PUBLISHED = ((16, 12, 8, 32), (12, 8, 6, 4), (8, 6, 4, 2))


def fitting_patches(lookback: int, top_k: int) -> tuple[tuple[int, ...], ...]:
    """The published patch sizes, each as the divisor of the look-back that is nearest in ratio.

    Divisors from 2 to half the look-back, none twice in a layer; multiples of 96 keep the
    published sizes.

    Raises:
        ValueError: fewer divisors than experts that each sample takes.
    """
    divisors = [size for size in _divisors(lookback) if 1 < size <= lookback // 2]
    if len(divisors) < top_k:
        raise ValueError(
            f"lookback = {lookback} can be cut into patches of {_listed(divisors) or 'no'} steps, "
            f"too few sizes for top_k = {top_k}: choose another look-back, such as a multiple of 96"
        )
    rows = []
    for published in PUBLISHED:
        row: list[int] = []
        for size in published:
            free = [divisor for divisor in divisors if divisor not in row]
            if free:
                row.append(min(free, key=lambda divisor: abs(math.log(divisor / size))))
        rows.append(tuple(row))
    return tuple(rows)


def check_patches(patch_sizes: Sequence[Sequence[int]], lookback: int, top_k: int) -> None:
    """ValueError unless every patch size divides the look-back; names those that do."""
    if not patch_sizes:
        raise ValueError("patch_sizes is empty, but must hold one row of patch sizes per layer")
    for number, row in enumerate(patch_sizes):
        where = f"patch_sizes[{number}] = {list(row)}"
        for size in row:
            if not isinstance(size, int) or isinstance(size, bool) or size < 1 or lookback % size:
                raise ValueError(
                    f"{where}: {size!r} does not divide lookback = {lookback}; valid are "
                    f"{_listed(_divisors(lookback))}, or null for sizes that fit"
                )
    most = max(len(row) for row in patch_sizes)
    if most < top_k:
        raise ValueError(f"no layer has more than {most} experts, but top_k = {top_k}")


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
