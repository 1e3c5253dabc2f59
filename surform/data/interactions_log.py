"""Tables of interactions in files, opened: names, types and rows of columns, read in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from surform.data.extras import require_extra
from surform.data.faults import closest, file_system, first_line, is_url, refuse_unreadable
from surform.data.fields import expand_paths
from surform.data.interactions_columns import family
from surform.data.interactions_parquet import ParquetLog

__all__ = [
    "BATCH_ROWS",
    "InteractionsLog",
    "LogFile",
    "Part",
    "TableFile",
    "TextFormat",
    "open_log",
]

BATCH_ROWS = 1 << 17  # rows that are decoded together
_TEXT = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_PACKED = (".gz", ".bz2")
_VALID = "CSV, TSV (also .gz, .bz2), Parquet, frames of pandas or polars, Arrow tables"
# what a text file leaves out; "NA" and "nan" may be categories
_MISSING = ["", "\\N", "NULL", "null"]


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
        files: opened; the first one says what the columns are.

    Raises:
        ValueError: no rows, columns of one name, or (at `require`) files that differ.
    """

    def __init__(self, files: Sequence[LogFile]) -> None:
        self.files = list(files)
        self.name = files[0].name if len(files) == 1 else f"{files[0].name} ({len(files)} files)"
        self.schema = files[0].schema
        for file in files:
            names = file.schema.names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{file.name} has two columns called {twice!r}")
        self.rows = sum(sum(file.pieces) for file in files)
        if not self.rows:
            raise ValueError(f"{self.name} has columns but no rows")

    def require(self, columns: Sequence[str]) -> None:
        """ValueError where a file lacks one of these columns, or has it in another type."""
        first = self.files[0]
        for file in self.files:
            for name in columns:
                if name not in file.schema.names:
                    hint = closest(name, file.schema.names)
                    raise ValueError(f"{file.name} has no column {name!r}: {hint}")
                mine, theirs = (family(f.schema.field(name).type) for f in (first, file))
                if "nothing" not in (mine, theirs) and mine != theirs:
                    raise ValueError(
                        f"column {name!r} holds {mine} in {first.name}, but {theirs} in "
                        f"{file.name}: give all files the same columns"
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
        arrow = require_extra("pyarrow", "tables", "Arrow tables")
        parts = []
        for part in self.parts([name], rows or 1 << 20):
            parts.append(part.batch.column(0))
            if rows is not None and part.row + len(parts[-1]) >= rows:
                break
        wide = {str(part.type): part.type for part in parts}
        if len(wide) > 1:
            parts = [part.cast(parts[0].type) for part in parts]
        return arrow.chunked_array(parts)


@dataclass(frozen=True)
class TextFormat:
    """How text files are to be read.

    Args:
        delimiter: between the fields; None: tab for `.tsv`, else found in the first line.
        names: of the columns of files without a line of names.
        types: Arrow types of columns; those of others are found.
    """

    delimiter: str | None = None
    names: tuple[str, ...] | None = None
    types: Mapping[str, Any] = field(default_factory=dict)


def open_log(
    source: Any,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
    types: Mapping[str, Any] | None = None,
) -> InteractionsLog:
    """Open a path, a pattern, a list of them, or a table that Python holds.

    Args:
        delimiter: of text files; None: tab for `.tsv`, else found in the first line.
        names: of the columns of text files without a line of names.
        types: Arrow types of columns of text files; those of others are found.

    Raises:
        ValueError: an unknown kind of source, or no rows.
        OSError: a file that is missing, empty or unreadable.
        ImportError: pyarrow is missing.
    """
    require_extra("pyarrow", "tables", "reading tables of interactions")
    if not _is_path(source):
        return InteractionsLog([TableFile(_held(source), "the table")])
    text = TextFormat(delimiter, tuple(names) if names else None, types or {})
    files: list[LogFile] = []
    for path in expand_paths(source):
        suffix = _suffix(path)
        if suffix not in (*_TEXT, *_PARQUET):
            raise ValueError(f"cannot read interactions from {path}: valid: {_VALID}")
        refuse_unreadable(path)
        files.append(_read_text(path, text) if suffix in _TEXT else ParquetLog(path))
    return InteractionsLog(files)


def _is_path(source: Any) -> bool:
    if isinstance(source, str | os.PathLike):
        return True
    return isinstance(source, list | tuple) and all(
        isinstance(p, str | os.PathLike) for p in source
    )


def _held(source: Any) -> Any:
    arrow = require_extra("pyarrow", "tables", "Arrow tables")
    library = type(source).__module__.partition(".")[0]
    if isinstance(source, arrow.Table):
        return source
    if library == "pandas":
        return arrow.Table.from_pandas(source, preserve_index=False)
    if library == "polars":
        return source.to_arrow()
    raise ValueError(f"cannot read interactions from {type(source).__name__}: valid: {_VALID}")


def _read_text(path: str, text: TextFormat) -> TableFile:
    csv = require_extra("pyarrow.csv", "tables", f"reading {path}")
    head = _first_line(path)
    usual = "\t" if _suffix(path) == ".tsv" else max((",", "\t", ";"), key=head.count)
    mark = text.delimiter or usual
    fields = head.strip("\r").split(mark)
    names = text.names
    if names and fields[0].strip('"') == names[0]:
        names = None  # this file has a line of names after all
    if names and len(fields) > len(names):
        raise ValueError(
            f"{path} has {len(fields)} fields in its first line, but {len(names)} names are given"
        )
    options = {
        "read_options": csv.ReadOptions(column_names=names),
        "parse_options": csv.ParseOptions(delimiter=mark),
        "convert_options": csv.ConvertOptions(
            column_types=dict(text.types), null_values=_MISSING, strings_can_be_null=True
        ),
    }
    try:
        with _opened(path) as file:
            try:
                table = csv.read_csv(file, **options)
            except ValueError as error:
                if names is None or "columns, got" not in str(error):
                    raise
                with _opened(path) as again:
                    table = csv.read_csv(_padded(again, mark.encode(), len(names)), **options)
    except Exception as error:
        raise ValueError(f"cannot read {path}: {first_line(error)[:200]}") from error
    return TableFile(table, path)


def _padded(file: Any, mark: bytes, fields: int) -> Any:
    """Text whose lines end early because their last fields are missing, with these as empty."""
    lines = file.read().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    whole = b"\n".join(line + mark * (fields - 1 - line.count(mark)) for line in lines)
    return require_extra("pyarrow", "tables", "reading text").BufferReader(whole)


def _first_line(path: str) -> str:
    with _opened(path) as file:
        return file.read(1 << 16).split(b"\n", 1)[0].decode(errors="replace")


def _opened(path: str) -> Any:
    """A text file, unpacked on the way."""
    arrow = require_extra("pyarrow", "tables", f"reading {path}")
    if is_url(path):
        system, inner = file_system(path)
        return system.open(inner, "rb", compression="infer")
    return arrow.input_stream(path, compression="detect")


def _suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in _PACKED else suffix
