"""Tables of interactions in files, opened: names, types and rows of columns, read in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from surform.data.extras import require_extra
from surform.data.faults import closest, refuse_unreadable
from surform.data.fields import expand_paths
from surform.data.interactions_columns import common_type, family
from surform.data.interactions_parquet import ParquetLog
from surform.data.interactions_text import TextFormat, read_text, suffix_of

__all__ = [
    "BATCH_ROWS",
    "InteractionsLog",
    "LogFile",
    "Part",
    "TableFile",
    "is_path",
    "open_log",
]

BATCH_ROWS = 1 << 17  # rows that are decoded together
_TEXT = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_VALID = "CSV, TSV (also .gz, .bz2), Parquet, frames of pandas or polars, Arrow tables"


class Part(NamedTuple):
    """Some rows: the number of the first one in all files, its file, its number there, a batch."""

    row: int
    file: str
    within: int
    batch: Any


class LogFile(Protocol):
    """One file: its name, its Arrow schema, the rows of each piece, and the pieces' rows."""

    name: str
    schema: Any
    pieces: list[int]

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        """The record batches of a piece, of at most `size` rows each."""
        ...


class TableFile:
    """A table in memory, or a text file read into one."""

    def __init__(self, table: Any, name: str) -> None:
        self.name, self.table, self.schema = name, table, table.schema
        starts = range(0, table.num_rows, BATCH_ROWS)
        self.pieces = [min(BATCH_ROWS, table.num_rows - start) for start in starts]

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        own = self.table.select(list(columns)).slice(piece * BATCH_ROWS, BATCH_ROWS)
        yield from own.to_batches(max_chunksize=size)


class InteractionsLog:
    """Files with the same columns, one after the other; rows are numbered through.

    Args:
        files: opened; the first one with rows says what the columns are, files without any are left
            out.

    Raises:
        ValueError: no rows, columns of one name, or (at `require`) files that differ.
    """

    def __init__(self, files: Sequence[LogFile]) -> None:
        self.name = files[0].name if len(files) == 1 else f"{files[0].name} ({len(files)} files)"
        for file in files:
            names = _names(file)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{file.name} has two columns called {twice!r}")
        self.files = [file for file in files if sum(file.pieces)]
        if not self.files:
            raise ValueError(f"{self.name} has columns but no rows")
        self.rows = sum(sum(file.pieces) for file in self.files)
        self.schema = _schema([file.schema for file in self.files])

    def require(self, columns: Sequence[str]) -> None:
        """ValueError where a file lacks one of these columns, or has it in another type."""
        told: dict[str, tuple[str, str]] = {}  # what each column holds, and where that was seen
        for file in self.files:
            for name in columns:
                if name not in file.schema.names:
                    hint = closest(name, file.schema.names)
                    raise ValueError(f"{file.name} has no column {name!r}: {hint}")
                found = family(file.schema.field(name).type)
                if found == "nothing":
                    continue
                kind, where = told.setdefault(name, (found, file.name))
                if kind != found:
                    raise ValueError(
                        f"column {name!r} holds {kind} in {where}, but {found} in {file.name}: "
                        "give all files the same columns (of text files, a schema with type: text "
                        "reads it as text)"
                    )

    def parts(self, columns: Sequence[str], size: int = BATCH_ROWS) -> Iterator[Part]:
        """All rows in turn, in record batches of at most `size`."""
        row = 0
        for file in self.files:
            first = row
            for piece in range(len(file.pieces)):
                for batch in file.read(piece, columns, size):
                    yield Part(row, file.name, row - first, batch)
                    row += batch.num_rows

    def column(self, name: str, rows: int | None = None) -> Any:
        """A whole column as one Arrow array in chunks, or its first rows and perhaps some more."""
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        parts = []
        for part in self.parts([name], rows or 1 << 20):
            parts.append(part.batch.column(0))
            if rows is not None and part.row + len(parts[-1]) >= rows:
                break
        kind = common_type(part.type for part in parts)
        parts = [p if p.type == kind else p.cast(kind, safe=False) for p in parts]
        return arrow.chunked_array(parts)


def open_log(source: Any, text: TextFormat | None = None) -> InteractionsLog:
    """Open a path, a pattern, a list of them, or a table that Python holds.

    Args:
        text: how text files are to be read.

    Raises:
        ValueError: an unknown kind of source, a file that is named twice, or no rows.
        OSError: a file that is missing, empty or unreadable.
        ImportError: pyarrow is missing.
    """
    require_extra("pyarrow", "tables", "reading tables of interactions")
    if not is_path(source):
        return InteractionsLog([TableFile(_held(source), "the table")])
    files: dict[str, LogFile] = {}
    for path in expand_paths(source):
        if path in files:
            raise ValueError(f"{path} is named twice: its rows would be in several splits")
        if os.path.isdir(path):
            raise ValueError(f"{path} is a folder: name its files, as in {path}/*.parquet")
        suffix = suffix_of(path)
        if suffix not in (*_TEXT, *_PARQUET):
            raise ValueError(f"cannot read interactions from {path}: valid: {_VALID}")
        refuse_unreadable(path)
        if suffix in _TEXT:
            files[path] = TableFile(read_text(path, text or TextFormat()), path)
        else:
            files[path] = ParquetLog(path)
    return InteractionsLog(list(files.values()))


def is_path(source: Any) -> bool:
    """Whether files are named: by a path, a pattern, or a list of them."""
    if isinstance(source, str | os.PathLike):
        return True
    return isinstance(source, list | tuple) and all(
        isinstance(p, str | os.PathLike) for p in source
    )


def _names(file: LogFile) -> list[str]:
    try:
        return file.schema.names
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file.name} has a column whose name is not UTF-8: write it in UTF-8"
        ) from error


def _schema(schemas: Sequence[Any]) -> Any:
    """The first schema; of columns that hold nothing there, the types that others have."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    fields = []
    for own in schemas[0]:
        others = (schema.field(own.name) for schema in schemas if own.name in schema.names)
        told = (other for other in others if family(other.type) != "nothing")
        fields.append(next(told, own))
    return arrow.schema(fields)


def _held(source: Any) -> Any:
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    library = type(source).__module__.partition(".")[0]
    if isinstance(source, arrow.Table):
        return source
    if isinstance(source, arrow.RecordBatch):
        return arrow.Table.from_batches([source])
    try:
        if library == "pandas":
            return arrow.Table.from_pandas(source, preserve_index=False)
        if library == "polars":
            return (source.collect() if hasattr(source, "collect") else source).to_arrow()
    except (ValueError, TypeError) as error:
        said = "; ".join(map(str, error.args))
        raise ValueError(f"the table cannot be read: {said}") from error
    raise ValueError(f"cannot read interactions from {type(source).__name__}: valid: {_VALID}")
