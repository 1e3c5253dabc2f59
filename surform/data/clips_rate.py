"""Sounds at another rate, whole or a stretch of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from surform.data.extras import require_extra

__all__ = ["at_rate", "samples_at"]


def samples_at(count: int, rate: int, wanted: int) -> int:
    """How many samples so many at `rate` become at the rate that is wanted."""
    return math.ceil(count * wanted / rate)


def at_rate(
    read: Callable[[int, int], np.ndarray],
    count: int,
    rate: int,
    wanted: int,
    begin: int = 0,
    stop: int | None = None,
) -> np.ndarray:
    """Samples begin to stop at the rate that is wanted, (n,) float32 (SciPy's polyphase filter).

    The same numbers as cut out of the whole, but nothing is read beyond the reach of the filter.

    Args:
        read: gives samples begin to stop of the sound as it is, (n,).
        count: samples that it has, at `rate` [Hz].
        wanted: the rate of the result [Hz]; `begin` and `stop` count its samples.
    """
    last = samples_at(count, rate, wanted)
    stop = last if stop is None else min(stop, last)
    if rate == wanted:
        return read(begin, stop)
    shared = math.gcd(rate, wanted)
    up, down = wanted // shared, rate // shared
    reach = 10 * max(up, down) // up + 2  # of SciPy's filter, in samples as they are
    # a whole number of periods, so that the filter stands as it does in the whole sound
    first = max(0, begin * down // up - reach) // down * down
    end = min(count, stop * down // up + reach)
    signal = require_extra("scipy.signal", "audio", "changing the rate of sounds")
    made = signal.resample_poly(read(first, end).astype(np.float64), up, down)
    offset = first // down * up
    return made[begin - offset : stop - offset].astype(np.float32)
