"""Tables as they come out of files and frames: numbers, and the columns of times and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from surform.data.series_space import Space

__all__ = ["Kind", "RawTable", "TableReader", "numbered_row"]

Kind = Literal["number", "time", "text", "empty"]


def numbered_row(row: int) -> str:
    """Where a row stands, for messages; rows count from 0, as data frames do."""
    return f"row {row}"


@dataclass
class RawTable:
    """What was read, in the order of the file.

    Args:
        name: of the file or frame, for messages.
        numbers: names of the columns of `values`.
        values: `(rows, numbers)`, missing values are NaN.
        labels: whole columns of times or names: object (text), datetime64 or numbers.
        units: unit strings where the source has them.
        attributes: provenance where the source has it.
        place: where a row stands in the source ("line 12").
        zones: names of the time zones of columns of times, where the source has them.
    """

    name: str
    numbers: tuple[str, ...]
    values: np.ndarray
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    place: Callable[[int], str] = numbered_row
    zones: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.values)


class TableReader(Protocol):
    """A table that can be read once its columns are chosen."""

    name: str
    defaults: dict[str, Any]  # arguments of `find_roles` that the source itself answers

    def kinds(self) -> Mapping[str, Kind]:
        """The columns in order and what they hold, from a schema or the first rows."""
        ...

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Read the chosen columns, `numbers` into `space`; ValueError names what is unreadable."""
        ...
