"""Columns that are computed from others while a file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surform.data.extras import require_extra
from surform.data.interactions_log import LogFile

__all__ = ["Derived", "DerivedFile", "hour_of", "weekday_of"]


@dataclass(frozen=True)
class Derived:
    """A column that `make` computes from one other.

    Args:
        source: the column that it is computed from.
        type: Arrow's, of the result.
        make: an Arrow array in, one as long out.
    """

    source: str
    type: Any
    make: Callable[[Any], Any]


class DerivedFile:
    """A file with further columns."""

    def __init__(self, file: LogFile, derived: Mapping[str, Derived]) -> None:
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        self._file = file
        self._derived = {
            name: one for name, one in derived.items() if one.source in file.schema.names
        }
        self.name, self.pieces, self.schema = file.name, file.pieces, file.schema
        for name, one in self._derived.items():
            self.schema = self.schema.append(arrow.field(name, one.type))

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        """The record batches of a piece, of at most `size` rows each."""
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        sources = [self._derived[n].source if n in self._derived else n for n in columns]
        for batch in self._file.read(piece, list(dict.fromkeys(sources)), size):
            arrays = [
                self._derived[name].make(batch.column(source))
                if name in self._derived
                else batch.column(source)
                for name, source in zip(columns, sources, strict=True)
            ]
            yield arrow.RecordBatch.from_arrays(arrays, names=list(columns))


def hour_of(seconds: Any) -> Any:
    """Hour of the day, 0 to 23 (UTC), of an Arrow array of seconds since 1970."""
    compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
    return compute.hour(_times(seconds))


def weekday_of(seconds: Any) -> Any:
    """Day of the week, Monday 0 to Sunday 6 (UTC), of an Arrow array of seconds since 1970."""
    compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
    return compute.day_of_week(_times(seconds))


def _times(seconds: Any) -> Any:
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    return seconds.cast(arrow.int64()).cast(arrow.timestamp("s"))
