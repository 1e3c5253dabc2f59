"""Tables of interactions in files, opened: names, types and rows of columns, read in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from surform.data.extras import require_extra
from surform.data.faults import closest, file_system, first_line, is_url, refuse_unreadable
from surform.data.fields import expand_paths

__all__ = ["BATCH_ROWS", "InteractionsLog", "LogFile", "Part", "TableFile", "family", "open_log"]

BATCH_ROWS = 1 << 16  # rows that are decoded together
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
    nbytes: int

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        """The record batches of a piece, of at most `size` rows each."""
        ...


class TableFile:
    """A table in memory, or a text file read into one."""

    def __init__(self, table: Any, name: str) -> None:
        self.name, self.table, self.schema = name, table, table.schema
        self.pieces = [table.num_rows]
        self.nbytes = table.nbytes

    def read(self, piece: int, columns: Sequence[str], size: int) -> Iterator[Any]:
        yield from self.table.select(list(columns)).to_batches(max_chunksize=size)


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

    @property
    def nbytes(self) -> int:
        """Of the rows in memory, about."""
        return sum(file.nbytes for file in self.files)

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


def open_log(
    source: Any, delimiter: str | None = None, names: Sequence[str] | None = None,
    types: dict[str, Any] | None = None,
) -> InteractionsLog:  # fmt: skip
    """Open a path, a pattern, a list of them, or a table that Python holds.

    Args:
        delimiter: of text files; None: tab for `.tsv`, else found in the first line.
        names: of the columns of text files without a line of names.
        types: Arrow types of columns of text files; others are found.

    Raises:
        ValueError: an unknown kind of source.
        OSError: a file that is missing, empty or unreadable.
        ImportError: pyarrow is missing.
    """
    require_extra("pyarrow", "tables", "reading tables of interactions")
    if not _is_path(source):
        return InteractionsLog([TableFile(_held(source), "the table")])
    files: list[LogFile] = []
    for path in expand_paths(source):
        suffix = _suffix(path)
        if suffix not in (*_TEXT, *_PARQUET):
            raise ValueError(f"cannot read interactions from {path}: valid: {_VALID}")
        refuse_unreadable(path)
        if suffix in _TEXT:
            files.append(_read_text(path, delimiter, names, types or {}))
        else:
            files.append(_read_parquet(path))
    return InteractionsLog(files)


def family(data_type: Any) -> str:
    """What a column of an Arrow type holds, in a word."""
    types = require_extra("pyarrow", "tables", "Arrow tables").types
    if types.is_dictionary(data_type):
        return family(data_type.value_type)
    for word, checks in (
        ("numbers", (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)),
        ("text", (types.is_string, types.is_large_string, types.is_string_view, types.is_binary)),
        ("lists", (types.is_list, types.is_large_list, types.is_fixed_size_list)),
        ("times", (types.is_timestamp, types.is_date)),
        ("nothing", (types.is_null,)),
    ):
        if any(check(data_type) for check in checks):
            return word
    return str(data_type)


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


def _read_text(
    path: str, delimiter: str | None, names: Sequence[str] | None, types: dict[str, Any]
) -> TableFile:
    csv = require_extra("pyarrow.csv", "tables", f"reading {path}")
    mark = delimiter or ("\t" if _suffix(path) == ".tsv" else None) or _found_delimiter(path)
    try:
        with _opened(path) as file:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(column_names=list(names) if names else None),
                parse_options=csv.ParseOptions(delimiter=mark),
                convert_options=csv.ConvertOptions(
                    column_types=types, null_values=_MISSING, strings_can_be_null=True
                ),
            )
    except Exception as error:
        raise ValueError(f"cannot read {path}: {first_line(error)[:200]}") from error
    return TableFile(table, path)


def _found_delimiter(path: str) -> str:
    with _opened(path) as file:
        line = file.read(1 << 16).split(b"\n", 1)[0].decode(errors="replace")
    return max((",", "\t", ";"), key=line.count)


def _opened(path: str) -> Any:
    """A text file, unpacked on the way."""
    arrow = require_extra("pyarrow", "tables", f"reading {path}")
    if is_url(path):
        system, inner = file_system(path)
        return system.open(inner, "rb", compression="infer")
    return arrow.input_stream(path, compression="detect")


def _read_parquet(path: str) -> TableFile:
    parquet = require_extra("pyarrow.parquet", "tables", f"reading {path}")
    try:
        return TableFile(parquet.read_table(path), path)
    except Exception as error:
        raise OSError(
            f"{path} is not a Parquet file, or is damaged: {first_line(error)[:160]}"
        ) from error


def _suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in _PACKED else suffix
