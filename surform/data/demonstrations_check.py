"""What is wrong with the numbers of demonstrations, in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from surform.data.demonstrations_rows import starts_of
from surform.data.demonstrations_source import Demonstrations

__all__ = ["check_actions", "check_finite", "check_window"]

_ROUNDING = 1e-5  # share of the range that actions may lie beyond their limits


def check_finite(
    source: Demonstrations, what: str, values: np.ndarray, used: Collection[int]
) -> None:
    """ValueError where some number of the `used` episodes is not finite; names the first one.

    Args:
        values: of the steps of all episodes.
    """
    if np.isfinite(values).all():
        return
    starts = starts_of(source)
    rows = np.flatnonzero(~np.isfinite(values).all(1))
    for row, episode in zip(rows, np.searchsorted(starts, rows, side="right") - 1, strict=True):
        if int(episode) in used:
            _refuse(source, int(episode), int(row - starts[episode]), what, values[row])


def check_window(source: Demonstrations, episode: int, what: str, values: np.ndarray) -> None:
    """ValueError where some number of an episode is not finite."""
    if not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0, 0])
        _refuse(source, episode, step, what, values[step])


def check_actions(
    given: Any, found: Mapping[str, list[float]], where: str
) -> tuple[list[float], list[float]]:
    """(lowest, highest) of each number of an action; ValueError where actions lie beyond.

    Args:
        given: [low, high] of all numbers, or a list of such pairs.
        found: "min" and "max" of the actions.
        where: names them.
    """
    width = len(found["min"])
    single = len(given) == 2 and not any(isinstance(each, list | tuple) for each in given)
    pairs = [given] * width if single else given
    fits = len(pairs) == width and all(
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(bound, int | float) for bound in pair)
        and pair[0] < pair[1]
        for pair in pairs
    )
    if not fits:
        raise ValueError(
            f"action_limits is {given}, but must be [low, high], or {width} such pairs: actions of "
            f"{where} have {width} numbers"
        )
    for number, (low, high) in enumerate(pairs):
        slack = _ROUNDING * (high - low)
        for value in (found["min"][number], found["max"][number]):
            if not low - slack <= value <= high + slack:
                raise ValueError(
                    f"number {number} of the actions in {where} is {value:g} somewhere, which is "
                    f"beyond its action_limits {low:g} to {high:g}"
                )
    return [float(low) for low, _ in pairs], [float(high) for _, high in pairs]


def _refuse(source: Demonstrations, episode: int, step: int, what: str, row: np.ndarray) -> None:
    number = int(np.argwhere(~np.isfinite(row))[0, 0])
    raise ValueError(
        f"{what} of {source.place(episode, step)} are not finite (number {number}): repair or "
        "leave out the episode"
    )
