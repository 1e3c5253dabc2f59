"""Mean and deviation of every column over the training rows, in one pass that stays small."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from surform.data.normalizers import Normalizer
from surform.data.series_table import blocks_of

__all__ = ["column_normalizer", "column_statistics"]


def column_statistics(
    values: np.ndarray, rows: Iterable[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 0) of each column over ranges of rows, float64.

    A column that is constant, as far as rounding lets it be, has deviation 1, so that it becomes 0.

    Args:
        values: `(rows, columns)`.
        rows: (start, stop) of each range; missing values inside them are left out.
    """
    columns = values.shape[1]
    count, mean, squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    for start, stop in rows:
        for block in blocks_of(stop - start, columns, start):
            part = values[block].astype(np.float64)
            there = ~np.isnan(part)
            whole = bool(there.all())
            found = np.full(columns, len(part), float) if whole else there.sum(0).astype(float)
            own = (part if whole else np.where(there, part, 0)).sum(0) / np.maximum(found, 1)
            part -= own
            spread = np.square(part, out=part).sum(0) if whole else np.nansum(part**2, 0)
            total = np.maximum(count + found, 1)
            squares += spread + (own - mean) ** 2 * (count * found / total)
            mean += (own - mean) * (found / total)
            count += found
    count = np.maximum(count, 1)
    variance = squares / count
    bound = count * np.finfo(float).eps * variance + (count * mean * np.finfo(float).eps) ** 2
    return mean, np.where(variance <= bound, 1.0, np.sqrt(variance))


def column_normalizer(mean: np.ndarray, std: np.ndarray) -> Normalizer:
    """A fitted normaliser whose last axis is the columns."""
    return Normalizer(torch.from_numpy(np.array(mean)), torch.from_numpy(np.array(std)))
