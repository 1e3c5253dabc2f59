"""Checks of constructor arguments: one clear sentence instead of a shape error deep inside."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["at_least", "fraction", "one_of"]


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """ValueError unless `value` is one of `choices`; names the closest one."""
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} is {value!r}, but must be one of {list(choices)}{hint}")


def at_least(minimum: int, **values: object) -> None:
    """ValueError unless every named value is a whole number of at least `minimum`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ValueError(f"{name} is {value!r}, but must be a whole number >= {minimum}")


def fraction(**values: float) -> None:
    """ValueError unless every named value is a probability in [0, 1)."""
    for name, value in values.items():
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}, but must lie in [0, 1)")
