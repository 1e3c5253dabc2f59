"""How sure a rate of success is that was counted in few episodes."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["wilson_interval"]


def wilson_interval(successes: int, episodes: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds of a rate by Wilson's score interval (Wilson, 1927, JASA 22).

    Raises:
        ValueError: no episode, or more successes than episodes.
    """
    if not 0 <= successes <= episodes or not episodes:
        raise ValueError(f"{successes} successes in {episodes} episodes are no rate")
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, weight = successes / episodes, z**2 / episodes
    centre = (rate + weight / 2) / (1 + weight)
    half = z * math.sqrt(rate * (1 - rate) / episodes + weight / episodes / 4) / (1 + weight)
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == episodes else centre + half
