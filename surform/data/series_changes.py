"""How much each series changes from row to row: the unit in which series of any size compare."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from surform.data.series_table import blocks_of

__all__ = ["mean_changes", "positive_scale"]


def mean_changes(values: np.ndarray, rows: Iterable[tuple[int, int]], lag: int = 1) -> np.ndarray:
    """Mean |y_t - y_(t - lag)| of each column over each range of rows: `(ranges, columns)` float64.

    Pairs that lack a value are left out; NaN where none is left.

    Args:
        values: `(rows, columns)`.
        rows: (start, stop) of each series.
        lag: rows between the two values; a season for the denominator of MASE.
    """
    found = []
    for start, stop in rows:
        total, count = np.zeros((2, values.shape[1]))
        for block in blocks_of(stop - start - lag, values.shape[1], start):
            later = values[block.start + lag : block.stop + lag].astype(np.float64)
            change = np.abs(later - values[block])
            total += np.nansum(change, 0)
            count += (~np.isnan(change)).sum(0)
        with np.errstate(invalid="ignore"):
            found.append(total / count)
    return np.array(found)


def positive_scale(changes: np.ndarray) -> np.ndarray:
    """The changes `(series, columns)` as divisors: above zero everywhere.

    A series that never changes takes the smallest change of the others, one without two values
    their median; 1 where there are no others.
    """
    changing = np.where(changes > 0, changes, np.nan)
    with warnings.catch_warnings():  # of columns without any change
        warnings.simplefilter("ignore", RuntimeWarning)
        least, middle = np.nanmin(changing, 0), np.nanmedian(changing, 0)
    instead = np.where(changes == 0, least, middle)
    return np.nan_to_num(np.where(changes > 0, changes, instead), nan=1.0)
