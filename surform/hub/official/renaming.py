"""Names of parameters in two schemes: one table of beginnings, read both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Renaming"]

# what stands for a part that both names have: a number, a name without dots
_PARTS = {"#": r"(\d+)", "@": r"([^.]+)"}
_SPLIT = re.compile("([#@])")


class Renaming:
    """Keys whose beginnings differ; the first pair that fits decides, the rest of a key stays.

    Args:
        pairs: (official beginning, ours). `#` stands for a number and `@` for a name without dots,
            in the same order in both.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        pairs = list(pairs)
        self._ours = [(_pattern(theirs), _pieces(ours)) for theirs, ours in pairs]
        self._official = [(_pattern(ours), _pieces(theirs)) for theirs, ours in pairs]

    def ours(self, key: str) -> str:
        """An official key under our name; one that no pair fits stays."""
        return _renamed(key, self._ours)

    def official(self, key: str) -> str:
        """Our key under its official name; one that no pair fits stays."""
        return _renamed(key, self._official)


def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile("".join(_PARTS.get(p) or re.escape(p) for p in _SPLIT.split(beginning)))


def _pieces(beginning: str) -> list[str]:
    """What is between the parts that both names have."""
    return _SPLIT.split(beginning)[::2]


def _renamed(key: str, rules: list[tuple[re.Pattern[str], list[str]]]) -> str:
    for pattern, pieces in rules:
        found = pattern.match(key)
        if found:
            new = "".join(a + b for a, b in zip(pieces, (*found.groups(), ""), strict=True))
            return new + key[found.end() :]
    return key
