"""What is damaged: for every format a small valid file, and how a user's command reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random

from benchmarks.fuzz.mutations import Tree

__all__ = ["Format", "find", "names"]

_MODULES = ("fields", "meshes", "tables", "atoms", "pictures", "sounds", "robots", "models")


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        write: writes valid data into an empty folder; returns what a user would name.
        read: reads the whole of it.
        words: names of columns or variables, one of which a sentence may give in place of the path.
        hostile: faults that only this format can have, taken for a fifth of the inputs.
        needs: packages without which nothing of this format can be written.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    words: tuple[str, ...] = ()
    hostile: Callable[[Tree, Random], Tree] | None = None
    needs: tuple[str, ...] = ()

    def lacks(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def _all() -> dict[str, Format]:
    found: dict[str, Format] = {}
    for name in _MODULES:
        found |= import_module(f"benchmarks.fuzz.{name}").FORMATS
    return found


def names() -> list[str]:
    """All formats, in the order of the table."""
    return list(_all())


def find(name: str) -> Format:
    """A format by its name."""
    return _all()[name]
