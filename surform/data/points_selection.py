"""Which variables of files with meshes are used, and as what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from surform.data.faults import closest

__all__ = ["PointsSelection", "names_of", "require"]


@dataclass(frozen=True)
class PointsSelection:
    """What to read; None stands for what the file itself says or shows.

    Args:
        coordinates: names of the coordinates, e.g. ("x", "y").
        targets: variables to be predicted, in column order.
        features: variables known at the points, beside the coordinates.
        parameters: numbers per sample.
        inputs: names of input functions.
        weights: whether quadrature weights are read, or computed from the cells of a mesh.
        markers: array of a mesh whose values, other than 0, mark boundaries: each is an input
            function `<markers>_<value>`.
        marker_values: point data that are the values of these input functions.
        on: where the targets of a mesh lie: on its points or on its cells; "auto" looks for them
            on the points first.
        need_targets: whether files must hold the targets.
    """

    coordinates: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None
    inputs: tuple[str, ...] | None = None
    weights: bool = True
    markers: str | None = None
    marker_values: tuple[str, ...] = ()
    on: Literal["auto", "points", "cells"] = "auto"
    need_targets: bool = True

    def choose(self, role: str, found: Sequence[str], where: str) -> tuple[str, ...]:
        """The names of a role: those asked for, all of which must be among `found`, or `found`."""
        asked = getattr(self, role)
        if asked is None:
            return tuple(found)
        require(asked, found, role, where)
        return tuple(asked)


def require(asked: Iterable[str], found: Iterable[str], role: str, where: str) -> None:
    """ValueError when a name that was asked for is not there."""
    there = list(found)
    for name in asked:
        if name not in there:
            what = {"inputs": "input function", "coordinates": "coordinate"}.get(
                role, role.removesuffix("s")
            )
            raise ValueError(f"{where} has no {what} {name!r}: {closest(name, there)}")


def names_of(role: str, names: Any) -> tuple[str, ...] | None:
    """The names that a user gave for a role; ValueError for a string or one name given twice."""
    if names is None:
        return None
    if isinstance(names, str):
        raise ValueError(f"{role}: give a list of names, got the string {names!r}")
    found = tuple(names)
    twice = [name for number, name in enumerate(found) if name in found[:number]]
    if twice:
        raise ValueError(f"{role} names {twice[0]!r} twice")
    return found
